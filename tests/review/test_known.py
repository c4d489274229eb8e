"""Votes from elsewhere are about what is there, and from a time that has been."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from overlap.base.errors import DataError
from overlap.review.known import Known
from overlap.review.store import open_store
from overlap.review.votes import import_votes

HEADER = "evaluation_set,query_id,image_id,landmark_id,reviewer,answer,voted_at,seconds"
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
KNOWN = Known(
    probes={"roxford5k": {"all_souls_1", "ashmolean_2"}, "rparis6k": {"louvre_1"}},
    photos={"roxford5k": {"souls_000017"}, "rparis6k": {"d"}},
    image_ids=pa.array(["0123456789abcdef", "1123456789abcde0", "fedcba9876543210"]),
    landmark_ids=pa.array([7, 7, 41]),
    now=NOW,
)


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path / "v.sqlite")


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """Return a store that stays empty."""
    return open_store(tmp_path_factory.mktemp("empty") / "v.sqlite")


def bring(store, folder, *rows):
    (folder / "v.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return import_votes(store, folder / "v.csv", known=KNOWN)


def test_votes_on_what_is_there_are_taken(store, tmp_path):
    rows = [
        "roxford5k,all_souls_1,0123456789abcdef,7,ann,same,2026-05-04T12:00:59Z,2.5",
        "roxford5k,all_souls_1,0123456789abcdef,7,ann,withdrawn,2026-05-04T12:01:00Z,",
        "rparis6k,louvre_1,fedcba9876543210,41,bob,different,2026-05-04T14:00:00.123456+02:00,1e-05",
        ",,,41,bob,same,,",
        "roxford5k,,,7,bob,unsure,1970-01-01T00:00:00.001Z,",
        "gold:roxford5k,ashmolean_2,souls_000017,-3,bob,same,2000-01-01,",
    ]
    assert bring(store, tmp_path, *rows) == 6
    assert bring(store, tmp_path, *rows) == 0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("roxford5k,all_souls_1,0123456789abcdef,41,a,same,,", "photo '0123456789abcdef' is of landmark 7, not of lan"),
        ("roxford5k,all_souls_1,0123456789abcdef,8,a,same,,", "photo '0123456789abcdef' is of landmark 7, not of lan"),
        (
            "roxford5k,all_souls_1,0123456789abcdef.jpg,7,a,same,,",
            "image_id '0123456789abcdef.jpg' is no photo of the training set; the nearest one is '0123456789abcdef'",
        ),
        ("roxford5k,all_souls_1,1123456789ABCDE0,7,a,same,,", "no photo .*; the nearest one is '1123456789abcde0'"),
        ("roxford5k,all_souls_1,train/f/e/d/fedcba9876543210,7,a,same,,", "; the nearest one is 'fedcba9876543210'"),
        ("roxford5k,all_souls_1,nothing,7,a,same,,", "image_id 'nothing' is no photo of the training set; nothing was"),
        ("roxford5k,all_souls_1,souls_000017,7,a,same,,", "image_id 'souls_000017' is no photo of the training set"),
        (
            "roxford,all_souls_1,0123456789abcdef,7,a,same,,",
            "evaluation_set 'roxford' is none of roxford5k, rparis6k; the nearest one is 'roxford5k'",
        ),
        ("roxford5k ,all_souls_1,0123456789abcdef,7,a,same,,", "evaluation_set 'roxford5k ' is none of"),
        (
            "roxford5k,all_soul_1,0123456789abcdef,7,a,same,,",
            "query_id 'all_soul_1' is no query of evaluation_set 'roxford5k'; the nearest one is 'all_souls_1'",
        ),
        (
            "roxford5k,louvre_1,0123456789abcdef,7,a,same,,",
            "no query of evaluation_set 'roxford5k'; it is one of rparis",
        ),
        ("roxford5k,souls_000017,0123456789abcdef,7,a,same,,", "query_id 'souls_000017' is no query of"),
        (",,,41,ann\u200b,same,,", r"reviewer 'ann\\u200b' must be a name of 1 to 100 printable characters"),
        (",,,41,ann\u202e,same,,", r"reviewer 'ann\\u202e' must be a name of"),
        (',,,41,"an\nn",same,,', r"reviewer 'an\\nn' must be a name of"),
        (f",,,41,{'a' * 101},same,,", "must be a name of 1 to 100"),
        (",,,42,a,same,,", "landmark_id 42 is no landmark of the training set"),
        ("elsewhere,,,41,a,same,,", "evaluation_set 'elsewhere' is none of roxford5k, rparis6k"),
        ("gold:oxford,all_souls_1,souls_000017,-3,a,same,,", "evaluation_set 'gold:oxford' is none of"),
        ("gold:,all_souls_1,souls_000017,-3,a,same,,", "evaluation_set 'gold:' is none of roxford5k, rparis6k"),
        ("gold:roxford5k,louvre_1,souls_000017,-3,a,same,,", "query_id 'louvre_1' is no query of"),
        (
            "gold:roxford5k,all_souls_1,souls_17,-3,a,same,,",
            "no photo of evaluation_set 'roxford5k'; the nearest one is",
        ),
        (
            "gold:roxford5k,all_souls_1,souls_000017,7,a,same,,",
            "landmark_id 7 is not below 0, as those of items with a",
        ),
        (
            "roxford5k,all_souls_1,0123456789abcdef,-7,a,same,,",
            "landmark_id '-7' is not a whole number; ids of landmarks",
        ),
        (",,,-41,a,same,,", "landmark_id '-41' is not a whole number"),
        (",,,041,a,same,,", "landmark_id '041' is not a whole number"),
        (",,,٤١,a,same,,", "landmark_id '٤١' is not a whole number"),
        (",,, 41,a,same,,", "landmark_id ' 41' is not a whole number"),
        (",,,41,a,same,2999-01-01T00:00:00Z,", r"voted_at 2999-01-01T00:00:00\+00:00 is after now, 2026-05-04T12:00:0"),
        (",,,41,a,same,2026-05-04T12:01:01Z,", r"voted_at .* is after now.*set it right, with its time zone"),
        (",,,41,a,same,2026-05-04T13:00:00,", "is after now"),
        (",,,41,a,same,0026-05-04T12:00:00Z,", r"voted_at 0026-05-04T12:00:00\+00:00 is before 2000-01-01; set it ri"),
        (",,,41,a,same,1969-12-31T23:59:59Z,", "is before 2000-01-01"),
        (",,,41,a,same,1970-01-20T15:30:00Z,", "is before 2000-01-01"),
        (",,,41,a,same,noon,", "voted_at 'noon' is not an instant"),
        (",,,41,a,same,9999-12-31T23:59:59-23:59,", "voted_at .* is not an instant"),
        *(
            (f",,,41,a,same,,{seconds}", f"seconds '{seconds}' is not a duration")
            for seconds in ("-1", "nan", "inf", "1_0")
        ),
        (",,,41,a,same,,٣", "seconds '٣' is not a duration"),
        (",,,41,a,same,,1e10", "seconds '1e10' is not a duration"),
    ],
)
def test_a_vote_on_what_is_not_there_is_named_and_nothing_is_imported(empty, tmp_path, row, message):
    with pytest.raises(DataError, match=r"v\.csv line 3: .*" + message):
        bring(empty, tmp_path, ",,,41,bob,same,,", row)
    assert len(empty.read_votes()) == len(empty.read_items()) == len(empty.imports()) == 0


def test_a_nearest_photo_is_found_among_very_many_at_once(tmp_path, empty):
    ids = pa.array([f"{number:016x}" for number in range(200_000)])
    many = Known(KNOWN.probes, KNOWN.photos, ids, pa.array(range(200_000)), NOW)
    path = tmp_path / "v.csv"
    path.write_text(f"{HEADER}\nroxford5k,all_souls_1,{5:016x}.JPG,5,ann,same,,\n")
    with pytest.raises(DataError, match=f"the nearest one is '{5:016x}'"):
        import_votes(empty, path, known=many)
