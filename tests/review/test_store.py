"""The store loses no vote, changes none, and counts one a reviewer and item."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from overlap.base.errors import ConfigError, ReviewError
from overlap.base.tables import ANSWERS, REVIEW_ITEMS, VOTES, as_table
from overlap.review.queue import item, sorted_items
from overlap.review.schema import VOTE_LOG
from overlap.review.store import VoteRefusedError, open_store
from overlap.review.votes import make_votes

START = datetime(2026, 1, 1, tzinfo=UTC)


def items(n=3, origin="global", score=0.5):
    rows = [item("s", "q", f"photo{number}", number, origin=origin, score=score) for number in range(n)]
    return sorted_items(as_table([*rows, item("", None, None, 7, origin="text", score=None)], REVIEW_ITEMS))


def vote(number=0, answer="same", reviewer="ann", at=0, supersedes=None, **more):
    asked = items().slice(number, 1)
    replaced = {asked["item_id"][0].as_py(): supersedes} if supersedes else None
    moment = START + timedelta(milliseconds=at)
    return make_votes(asked, [answer], reviewer=reviewer, voted_at=moment, supersedes=replaced, **more)


def vote_id(table):
    return table["vote_id"][0].as_py()


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "deep" / "votes.sqlite")
    store.add_items(items())
    return store


def test_items_and_votes_come_back_as_they_went_in(store):
    cast = pa.concat_tables(
        [vote(0, seconds=2.3, note="tower", guideline_version="1"), vote(1, "unsure"), vote(3, reviewer="bob")]
    )
    assert store.append_votes(cast) == 3
    assert store.read_items().equals(items())
    assert store.read_votes().equals(cast)
    assert store.counting_votes().equals(cast)


def test_adding_twice_adds_nothing(store):
    store.append_votes(vote())
    assert store.append_votes(vote()) == 0
    assert store.merge_votes(items(), vote()) == 0
    store.add_items(items())
    assert store.read_items().equals(items())
    assert len(store.read_votes()) == 1


def test_the_queue_renews_score_and_origin_and_an_import_does_not(store):
    store.merge_votes(items(origin="imported", score=None), VOTES.empty_table())
    assert store.read_items().equals(items())
    store.add_items(items(origin="closure", score=0.75))
    assert store.read_items().equals(items(origin="closure", score=0.75))


def test_a_change_of_mind_supersedes_and_both_votes_stay(store):
    first = vote(answer="same")
    store.append_votes(first)
    second = vote(answer="different", at=5, supersedes=vote_id(first))
    store.append_votes(second)
    assert store.read_votes().equals(pa.concat_tables([first, second]))
    assert store.counting_votes().equals(second)


def test_merging_in_any_order_counts_the_last_by_time(store, tmp_path):
    votes = [vote(answer="same"), vote(answer="different", at=5), vote(answer="unsure", at=9), vote(reviewer="bob")]
    for part in votes:
        store.merge_votes(items(), part)
    backwards = open_store(tmp_path / "backwards.sqlite")
    for part in votes[::-1]:
        backwards.merge_votes(items(), part)
    at_once = open_store(tmp_path / "at_once.sqlite")
    at_once.merge_votes(items(), pa.concat_tables(votes[::-1]))
    assert store.read_votes()["supersedes"].to_pylist() == [None, vote_id(votes[0]), vote_id(votes[1]), None]
    for other in (store, backwards, at_once):
        assert sorted(other.counting_votes()["vote_id"].to_pylist()) == sorted(map(vote_id, votes[2:]))


def test_at_the_same_instant_the_later_row_counts(store):
    store.merge_votes(items(), pa.concat_tables([vote(answer="unsure"), vote(answer="same")]))
    assert store.counting_votes()["answer"].to_pylist() == ["same"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (vote(answer="perhaps"), "answer 'perhaps' is not one of same, same_other_side"),
        (vote(reviewer=""), "reviewer '' must be a name without blanks around it"),
        (vote(reviewer=" ann"), "reviewer ' ann' must be a name"),
        (vote(seconds=float("nan")), "seconds nan is not a duration"),
        (vote(seconds=-1.0), "seconds -1.0 is not a duration"),
        (vote(supersedes="f" * 32), f"counting vote of ann on this item is None, and supersedes names {'f' * 32}"),
    ],
)
def test_a_vote_that_says_nothing_sound_is_refused(store, table, message):
    with pytest.raises(VoteRefusedError, match=message):
        store.append_votes(pa.concat_tables([vote(1), table]))
    assert len(store.read_votes()) == 0


def test_a_vote_on_an_unknown_item_is_refused(tmp_path):
    with pytest.raises(ReviewError, match=r"vote 1 of the batch: item [0-9a-f]+ is not in the store; add the queue's"):
        open_store(tmp_path / "v.sqlite").append_votes(vote())


def test_an_edited_vote_is_refused(store):
    edited = vote().set_column(VOTES.names.index("answer"), "answer", pa.array(["different"]))
    with pytest.raises(VoteRefusedError, match="is not the hash of what the vote says"):
        store.append_votes(edited)


def test_a_second_vote_must_name_the_counting_one(store):
    first, other = vote(), vote(1)
    store.append_votes(pa.concat_tables([first, other]))
    for supersedes in (None, vote_id(other)):
        with pytest.raises(VoteRefusedError, match=f"is {vote_id(first)}, and supersedes names {supersedes}"):
            store.append_votes(vote(answer="different", at=1, supersedes=supersedes))
    with pytest.raises(VoteRefusedError, match=r"it is older than the vote .* set the clock right"):
        store.append_votes(vote(answer="different", at=-1, supersedes=vote_id(first)))


def test_a_merged_vote_names_an_earlier_vote_of_the_same_reviewer_and_item(store):
    first = vote(at=3)
    store.append_votes(first)
    for wrong in (vote(reviewer="bob", at=4, supersedes=vote_id(first)), vote(at=2, supersedes=vote_id(first))):
        with pytest.raises(VoteRefusedError, match=r"which is no earlier vote of (ann|bob) on this item"):
            store.merge_votes(items(), wrong)
    assert store.merge_votes(items(), vote(answer="unsure", at=4, supersedes=vote_id(first))) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE votes SET answer = 'different'",
        "DELETE FROM votes",
        "INSERT OR REPLACE INTO votes SELECT * FROM votes",
        "INSERT OR REPLACE INTO votes SELECT sequence + 9, vote_id, item_id, evaluation_set, reviewer, 'unsure', "
        "voted_at_ms, seconds, note, guideline_version, supersedes, lease, client_seq, chain FROM votes",
    ],
)
def test_the_database_itself_refuses_to_change_a_vote(store, tmp_path, statement):
    store.append_votes(vote())
    connection = sqlite3.connect(tmp_path / "deep" / "votes.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="votes are append-only"):
        connection.execute(statement)
    connection.close()
    assert store.read_votes().equals(vote())


def test_every_connection_is_durable(store):
    with store.engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2}


def test_writers_at_once_lose_nothing(store):
    def cast(number):
        return sum(store.append_votes(vote(k, reviewer=f"r{number}", at=number)) for k in range(3))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(cast, range(4))) == [3] * 4
    assert len(store.read_votes()) == len(store.counting_votes()) == 12


def test_of_two_tabs_one_wins_and_the_other_is_told(store):
    def cast(answer):
        try:
            return store.append_votes(vote(answer=answer))
        except VoteRefusedError:
            return "refused"

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(cast, ["same", "different"]))
    assert sorted(map(str, results)) == ["1", "refused"]
    assert len(store.read_votes()) == 1


batch = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(ANSWERS), st.sampled_from(["ann", "bob"]), st.integers(-3, 3)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=20, deadline=None)
@given(st.lists(batch, max_size=3))
def test_merging_never_loses_or_changes_a_vote_and_counts_the_last(tmp_path_factory, batches):
    store = open_store(tmp_path_factory.mktemp("s") / "v.sqlite")
    kept, arrived = [], {}
    for rows in batches:
        store.merge_votes(items(), pa.concat_tables([vote(n, a, r, t) for n, a, r, t in rows]))
        for n, a, r, t in sorted(rows, key=lambda row: row[3]):
            arrived.setdefault((n, a, r, t), len(arrived))
        now = store.read_votes().to_pylist()
        assert now[: len(kept)] == kept
        kept = now
    assert len(kept) == len(arrived)
    last = {}
    for (n, a, r, t), order in arrived.items():
        last[n, r] = max(last.get((n, r), (t, order, a)), (t, order, a))
    counting = store.counting_votes().to_pylist()
    asked = items()["item_id"].to_pylist()
    found = {(asked.index(row["item_id"]), row["reviewer"]): row["answer"] for row in counting}
    assert found == {key: answer for key, (_, _, answer) in last.items()}
    assert len(counting) == len(last)


def test_a_store_that_can_not_be_opened_says_so(tmp_path):
    (tmp_path / "text.sqlite").write_text("this is no database, and long enough to be read as one" * 9)
    with pytest.raises(ReviewError, match=r"the review store sqlite:.*text\.sqlite failed: file is not a database"):
        open_store(tmp_path / "text.sqlite")
    with pytest.raises(ReviewError, match=r"failed: .*(Not a directory|File exists)"):
        open_store(tmp_path / "text.sqlite" / "v.sqlite")


@pytest.mark.parametrize("url", ["nonsense", "oracle9://x/y"])
def test_a_url_that_is_none_is_refused(url):
    with pytest.raises(ConfigError, match=r"review\.database: no database can be opened by .*give a URL such as"):
        open_store(url)


def test_a_url_opens_the_same_store_and_hides_its_password(tmp_path):
    url = f"sqlite:///{tmp_path}/v.sqlite"
    open_store(url).add_items(items())
    assert open_store(tmp_path / "v.sqlite").read_items().equals(items())
    assert "hidden" not in sa.make_url("postgresql://me:hidden@host/db").render_as_string()


def test_the_schema_compiles_for_postgresql():
    text = str(CreateTable(VOTE_LOG).compile(dialect=postgresql.dialect()))
    assert "sequence BIGSERIAL" in text
    assert "voted_at_ms BIGINT NOT NULL" in text
