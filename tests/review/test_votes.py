"""Vote files go out and come back exactly, need no queue, and say which line is wrong."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.base.tables import ANSWERS, REVIEW_ITEMS, VOTES, as_table
from overlap.review.queue import item, sorted_items
from overlap.review.store import open_store
from overlap.review.votes import EPOCH, FILE_COLUMNS, export_votes, import_votes, make_votes, read_truth, simulate_votes

HEADER = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer"


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def items_of(*asked):
    rows = [item(*question, origin="global" if question[1] else "text", score=None) for question in asked]
    return sorted_items(as_table(rows, REVIEW_ITEMS))


def by_id(votes):
    return sorted(votes.to_pylist(), key=lambda row: row["vote_id"])


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "v.sqlite")


def test_a_file_is_imported_where_no_queue_is(store, tmp_path):
    path = write(
        tmp_path / "v.csv",
        HEADER,
        "s,q,0123456789012345,7,ann,same",
        "s,q,12345678901234e5,7,bob,unsure",
        ",,,9,ann,same",
    )
    assert import_votes(store, path) == 3
    assert import_votes(store, path) == 0
    found = store.read_items()
    assert found["image_id"].to_pylist() == ["0123456789012345", "12345678901234e5", None]
    assert found["origin"].to_pylist() == ["imported", "imported", "text"]
    votes = store.read_votes()
    assert votes["voted_at"].to_pylist() == [EPOCH] * 3
    assert votes["landmark_id"].to_pylist() == [7, 7, 9]


def test_imported_votes_are_on_the_queue_s_own_items(store, tmp_path):
    queue = items_of(("s", "q", "a", 7), ("", None, None, 9))
    store.add_items(queue)
    import_votes(store, write(tmp_path / "v.csv", HEADER, "s,q,a,7,ann,same", "whichever,,,9,ann,same"))
    assert store.read_items().equals(queue)
    assert set(store.read_votes()["item_id"].to_pylist()) == set(queue["item_id"].to_pylist())
    assert store.read_votes()["evaluation_set"].to_pylist() == ["s", "whichever"]


def test_rows_without_a_time_count_in_their_order(store, tmp_path):
    rows = [f"s,q,a,7,ann,{answer}" for answer in ("same", "different", "same")]
    path = write(tmp_path / "v.csv", HEADER, *rows, "s,q,a,7,bob,unsure")
    assert import_votes(store, path) == 4
    assert store.read_votes()["voted_at"].to_pylist() == [
        EPOCH,
        EPOCH,
        *(EPOCH + timedelta(milliseconds=n) for n in (1, 2)),
    ]
    assert sorted(store.counting_votes()["answer"].to_pylist()) == ["same", "unsure"]
    assert import_votes(store, path) == 0


def test_times_are_read_with_and_without_zone(store, tmp_path):
    times = ["2026-01-31T12:00:00Z", "2026-01-31 12:00:00.000", "2026-01-31T14:00:00+02:00"]
    rows = [f"s,q,{n},7,ann,same,{moment}" for n, moment in enumerate(times)]
    import_votes(store, write(tmp_path / "v.csv", HEADER + ",voted_at", *rows))
    assert set(store.read_votes()["voted_at"].to_pylist()) == {datetime(2026, 1, 31, 12, tzinfo=UTC)}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4) | st.text(
    "'=+-@\t\r\n,\"", max_size=4
)
names = texts.filter(lambda text: text and text == text.strip())
instants = st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
said = st.tuples(
    st.integers(0, 3),
    st.sampled_from(ANSWERS),
    names,
    instants,
    st.none() | st.floats(0, 2**20, width=32),
    st.none() | texts,
    st.none() | texts,
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(texts.filter(bool), names, names, st.integers(0, 9)), min_size=4, max_size=4),
    st.lists(said, max_size=6),
)
def test_import_undoes_export(tmp_path_factory, asked, answers):
    folder = tmp_path_factory.mktemp("v")
    asked[3] = ("", None, None, 5)
    queue = items_of(*asked)
    votes = [
        make_votes(queue.slice(n, 1), [a], reviewer=r, voted_at=t, seconds=s, note=note, guideline_version=version)
        for n, a, r, t, s, note, version in answers
    ]
    store = open_store(folder / "one.sqlite")
    store.merge_votes(queue, pa.concat_tables([VOTES.empty_table(), *votes]))
    assert export_votes(store, folder / "one.csv") == len(store.read_votes())
    again = open_store(folder / "two.sqlite")
    import_votes(again, folder / "one.csv")
    assert by_id(again.read_votes()) == by_id(store.read_votes())
    assert by_id(again.counting_votes()) == by_id(store.counting_votes())
    export_votes(again, folder / "two.csv")
    assert (folder / "one.csv").read_bytes() == (folder / "two.csv").read_bytes()


def test_the_export_is_fixed_and_runs_in_no_spreadsheet(store, tmp_path):
    queue = items_of(("s", "=q", "a", 7))
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    store.add_items(queue)
    store.append_votes(make_votes(queue, ["same"], reviewer="ann", voted_at=moment, seconds=2.3, note="+tower"))
    export_votes(store, tmp_path / "v.csv")
    assert (tmp_path / "v.csv").read_bytes().decode() == (
        ",".join(FILE_COLUMNS) + "\ns,'=q,a,7,ann,same,2026-01-31T12:00:00.000Z,2.3,'+tower,,\n"
    )


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (HEADER, "s,q,,7,ann,same", "line 3: a vote on a pair needs evaluation_set, query_id and image_id"),
        (HEADER, ",q,a,7,ann,same", "line 3: a vote on a pair needs evaluation_set, query_id and image_id"),
        (HEADER, "s,q,a,7.0,ann,same", r"line 3: landmark_id '7\.0' is not a whole number"),
        (HEADER, "s,q,a,,ann,same", "line 3: landmark_id '' is not a whole number"),
        (HEADER, "s,q,a,7,ann,yes", "line 3: answer 'yes' is not one of same, same_other_side"),
        (HEADER, "s,q,a,7,,same", "line 3: reviewer '' must be a name without blanks around it; nothing was imported"),
        (HEADER, "s,q,a,7,ann", "line 3: 5 cells where the header has 6"),
        (
            HEADER + ",voted_at",
            "s,q,a,7,ann,same,noon",
            "line 3: voted_at 'noon' is not an instant such as 2026-01-31T",
        ),
        (HEADER + ",seconds", "s,q,a,7,ann,same,-1", "line 3: seconds '-1' is not a duration such as 2.5"),
        (HEADER + ",seconds", "s,q,a,7,ann,same,fast", "line 3: seconds 'fast' is not a duration"),
        (
            HEADER + ",supersedes",
            "s,q,a,7,ann,same,abc",
            "line 3: supersedes names abc, which is no earlier vote of ann",
        ),
    ],
)
def test_a_bad_row_is_named_and_nothing_is_imported(store, tmp_path, header, row, message):
    good = "s,q,z,7,ann,same" + "," * (header.count(",") - HEADER.count(","))
    path = write(tmp_path / "v.csv", header, good, row)
    with pytest.raises(DataError, match=r"v\.csv " + message):
        import_votes(store, path)
    assert len(store.read_votes()) == len(store.read_items()) == 0


def test_truth_in_both_forms(tmp_path):
    pairs = write(tmp_path / "a.csv", "evaluation_set,query_id,image_id,landmark_id", "s,q,a,7", "s,q,,8", "s,,,9")
    assert read_truth(pairs) == {("s", "q", "a", 7), ("s", "q", "", 8), ("", "", "", 9)}
    lists = write(
        tmp_path / "b.csv", "evaluation_set,query_id,landmark,overlapping_landmark_ids", "s,q,x,7 8", "s,p,y,"
    )
    assert read_truth(lists) == {("s", "q", "", 7), ("s", "q", "", 8)}


@pytest.mark.parametrize(
    ("row", "message"),
    [("s,,a,7", "line 2: image_id 'a' without query_id"), ("s,q,a,x", "line 2: landmark_id 'x' is not a whole number")],
)
def test_bad_truth_is_named(tmp_path, row, message):
    path = write(tmp_path / "t.csv", "evaluation_set,query_id,image_id,landmark_id", row)
    with pytest.raises(DataError, match=r"t\.csv " + message):
        read_truth(path)


QUEUE = items_of(("s", "q", "a", 7), ("s", "q", "b", 7), ("s", "q", "c", 8), ("", None, None, 9), ("", None, None, 10))
TRUTH = {("s", "q", "a", 7), ("s", "q", "", 8), ("", "", "", 9)}


def test_faultless_reviewers_tell_the_truth():
    votes = simulate_votes(QUEUE, TRUTH, seed=0)
    said = {(row["reviewer"], row["image_id"], row["landmark_id"]): row["answer"] for row in votes.to_pylist()}
    expected = {("a", 7): "same", ("b", 7): "different", ("c", 8): "same", (None, 9): "same", (None, 10): "different"}
    assert said == {(f"simulated-{n}", *asked): answer for n in (1, 2, 3) for asked, answer in expected.items()}


def test_simulation_depends_on_the_seed_alone():
    votes = simulate_votes(QUEUE, TRUTH, error_rate=0.5, seed=3)
    assert votes.equals(simulate_votes(QUEUE.take([4, 2, 0, 1, 3]), TRUTH, error_rate=0.5, seed=3))
    assert not votes.equals(simulate_votes(QUEUE, TRUTH, error_rate=0.5, seed=4))
    assert len(simulate_votes(QUEUE, TRUTH, reviewers=0, seed=0)) == 0


def test_errors_come_at_their_rate():
    many = items_of(*(("s", "q", str(n), 8) for n in range(2000)))
    wrong = np.array(simulate_votes(many, TRUTH, error_rate=0.1, seed=1)["answer"].to_pylist()) == "different"
    assert abs(wrong.mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / len(wrong))


def test_simulated_votes_are_stored_once(store):
    store.add_items(QUEUE)
    votes = simulate_votes(QUEUE, TRUTH, seed=0)
    assert store.append_votes(votes) == 15
    assert store.append_votes(votes) == 0


def test_a_note_holds_no_nul_for_no_file_and_no_postgresql_takes_one():
    vote = make_votes(QUEUE.slice(0, 1), ["same"], reviewer="ann", voted_at=EPOCH, note="a\0b")
    assert vote["note"].to_pylist() == ["ab"]
    assert make_votes(QUEUE.slice(0, 1), ["same"], reviewer="ann", voted_at=EPOCH, note="\0")["note"].null_count == 1
