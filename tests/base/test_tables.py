import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.base import tables
from overlap.base.errors import DataError
from overlap.base.tables import ANSWERS, CONFIRMING, LANDMARKS, QUARANTINE, as_table, checked

SCHEMAS = {name: value for name, value in vars(tables).items() if isinstance(value, pa.Schema)}
IDS = st.one_of(st.from_regex(r"[0-9]{16}", fullmatch=True), st.from_regex(r"[0-9]{14}e[0-9]", fullmatch=True))


def landmarks(**columns):
    whole = {"landmark_id": [1, 2], "landmark_name": ["a", "b"], "n_images": [3, 4]} | columns
    return pa.table(whole)


@pytest.mark.parametrize("name", SCHEMAS)
def test_ids_are_text_and_landmarks_are_int64_in_every_schema(name):
    for field in SCHEMAS[name]:
        if field.name in ("image_id", "query_id", "item_id", "group_id", "vote_id"):
            assert field.type == pa.string()
        if field.name == "landmark_id":
            assert field.type == pa.int64()


@pytest.mark.parametrize("name", SCHEMAS)
def test_an_empty_table_is_whole(name):
    table = SCHEMAS[name].empty_table()
    assert table.num_rows == 0
    assert checked(table, SCHEMAS[name]).schema == SCHEMAS[name]
    assert as_table([], SCHEMAS[name]).schema == SCHEMAS[name]


@given(st.lists(IDS, max_size=20))
def test_ids_that_look_like_numbers_stay_text(ids):
    rows = [{"image_id": name, "source": "s", "path": "p", "reason": "r"} for name in ids]
    assert as_table(rows, QUARANTINE)["image_id"].to_pylist() == ids


def test_the_confirming_answers_are_answers():
    assert set(ANSWERS) > CONFIRMING


def test_checked_orders_the_columns_and_drops_others():
    table = landmarks(more=[1, 2]).select(["n_images", "more", "landmark_name", "landmark_id"])
    assert checked(table, LANDMARKS).schema == LANDMARKS


@pytest.mark.parametrize(
    "columns",
    [
        {"landmark_id": pa.array([1, 2], pa.int32())},
        {"landmark_name": pa.array(["a", "b"], pa.large_string())},
        {"landmark_name": pa.array(["a", "b"]).dictionary_encode()},
    ],
    ids=["int32", "large_string", "dictionary"],
)
def test_checked_converts_related_types(columns):
    assert checked(landmarks(**columns), LANDMARKS).equals(checked(landmarks(), LANDMARKS))


def test_checked_keeps_a_column_without_values_where_it_may_be_empty():
    table = tables.IMAGES.empty_table().append_column("more", pa.array([], pa.null()))
    rows = table.set_column(table.schema.get_field_index("landmark_id"), "landmark_id", pa.array([], pa.null()))
    assert checked(rows, tables.IMAGES).schema == tables.IMAGES


def test_a_missing_column_is_named():
    with pytest.raises(DataError, match=r"lacks the column\(s\) landmark_name, n_images; it has landmark_id, more"):
        checked(pa.table({"landmark_id": [1], "more": [2]}), LANDMARKS)


def test_empty_cells_are_counted_by_column():
    with pytest.raises(DataError, match="column 'landmark_name' has 1 empty cells; every row needs one"):
        checked(landmarks(landmark_name=["a", None]), LANDMARKS)
    with pytest.raises(DataError, match="column 'n_images' has 2 empty cells"):
        checked(landmarks(n_images=[None, None]), LANDMARKS)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"landmark_name": [1, 2]}, "column 'landmark_name' holds int64, expected string"),
        ({"landmark_name": [1.2e18, 2.0]}, "column 'landmark_name' holds double, expected string"),
        ({"landmark_id": ["1", "2"]}, "column 'landmark_id' holds string, expected int64"),
        ({"n_images": [1.5, 2.0]}, "column 'n_images' holds double, expected int64: "),
        ({"n_images": [[1], [2]]}, "column 'n_images' holds list<.*>, expected int64: "),
    ],
)
def test_a_number_never_becomes_text_nor_is_a_wrong_type_taken(columns, message):
    with pytest.raises(DataError, match=message):
        checked(landmarks(**columns), LANDMARKS)


@pytest.mark.parametrize(
    "row",
    [
        {"landmark_id": "x", "landmark_name": "a", "n_images": 1},
        {"landmark_id": 1, "landmark_name": 2, "n_images": 1},
        {"landmark_id": 2**63, "landmark_name": "a", "n_images": 1},
    ],
    ids=["text for a number", "number for text", "too large"],
)
def test_a_row_that_does_not_fit_is_refused(row):
    with pytest.raises(DataError, match="a row does not fit the columns landmark_id, landmark_name, n_images: "):
        as_table([row], LANDMARKS)


def test_a_row_that_lacks_a_cell_is_refused():
    with pytest.raises(DataError, match="column 'n_images' has 1 empty cells"):
        as_table([{"landmark_id": 1, "landmark_name": "a"}], LANDMARKS)
