import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.base.errors import DataError
from overlap.base.tables import IMAGES, LANDMARKS
from overlap.datasets.table import read_table_evaluation, read_table_landmarks, read_table_training

cells = st.text("012e-é ,\"'=", min_size=1, max_size=6).filter(lambda text: text == text.strip())
rows = st.lists(st.tuples(cells, st.integers(0, 2**40)), min_size=1, max_size=6, unique_by=lambda row: row[0])


def write_table(path: Path, header, lines):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *lines])


@given(listed=rows)
@settings(max_examples=25, deadline=None)
def test_training_tables_are_read_back(listed):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lines = [(name, f"d/{row}.jpg", landmark, f"L {landmark}") for row, (name, landmark) in enumerate(listed)]
        write_table(root / "images.csv", ["image_id", "path", "landmark_id", "landmark_name"], lines)
        found = read_table_training(root, "images.csv")
        assert found.images.schema == IMAGES
        assert found.landmarks.schema == LANDMARKS
        assert [(r["image_id"], r["path"], r["landmark_id"], r["landmark_name"]) for r in found.images.to_pylist()] == [
            (name, str(root / path), landmark, title) for name, path, landmark, title in lines
        ]
        order = list(dict.fromkeys(landmark for _, landmark in listed))
        assert found.landmarks.to_pylist() == [
            {"landmark_id": k, "landmark_name": f"L {k}", "n_images": sum(k == other for _, other in listed)}
            for k in order
        ]
        assert read_table_landmarks(root, "images.csv").equals(found.landmarks)


def test_names_are_optional_and_other_columns_are_left_aside(make, tmp_path):
    make.write(
        tmp_path / "t.csv", "\ufeffnote,landmark_id,path,image_id\r\n=1,3,a.jpg,12345678901234e5\r\n,3,b.jpg,007\r\n"
    )
    make.write(tmp_path / "a.jpg", b"x")
    found = read_table_training(tmp_path, "t.csv").images
    assert found["image_id"].to_pylist() == ["12345678901234e5", "007"]
    assert found["landmark_name"].to_pylist() == ["", ""]
    assert [stamp == "missing" for stamp in found["stamp"].to_pylist()] == [False, True]


def test_evaluation_table(make, tmp_path):
    make.write(
        tmp_path / "t.csv",
        "image_id,path,x0,y0,x1,y1,is_query,landmark_id\n"
        "q1,q1.jpg,1,2.5,30,40,1,7\nd1,d1.jpg,,,,,0,\nq2,q2.jpg,,,,,1,\nd2,d2.jpg,1,2,3,4,0,9\n",
    )
    found = read_table_evaluation(tmp_path, "t.csv", name="own")
    assert found.ground_truth is None
    assert found.queries.schema == found.photos.schema == IMAGES
    assert found.queries["image_id"].to_pylist() == ["q1", "q2"]
    assert found.queries["crop_px"].to_pylist() == [[1, 2.5, 30, 40], None]
    assert found.queries["landmark_id"].to_pylist() == [7, None]
    assert found.photos["image_id"].to_pylist() == ["d1", "d2"]
    assert found.photos["crop_px"].null_count == 2
    assert set(found.photos["source"].to_pylist()) == {"own"}


def test_every_photo_is_a_query_unless_said(make, tmp_path):
    make.write(tmp_path / "t.csv", "image_id,path\na,a.jpg\nb,b.jpg\n")
    found = read_table_evaluation(tmp_path, "t.csv", name="own")
    assert (len(found.queries), len(found.photos)) == (2, 0)


TRAIN = "image_id,path,landmark_id,landmark_name\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TRAIN, r"t\.csv: the training set is empty: no row follows the header; mend the table"),
        (
            "image_id,path\na,a.jpg\n",
            r"t\.csv line 1: expected the column\(s\) landmark_id; found image_id, path; mend the table",
        ),
        (TRAIN + "a,a.jpg,1,\n,b.jpg,1,\n", r"t\.csv row 3: the image_id is empty; mend the table"),
        (
            TRAIN + "a,a.jpg,1,\na,b.jpg,1,\n",
            r"t\.csv row 3: image_id a stands already at .*t\.csv row 2; keep",
        ),
        (TRAIN + "a,a.jpg,,\n", r"t\.csv row 2: landmark_id '' is not a whole number; mend the table"),
        (TRAIN + "a,a.jpg,1e3,\n", r"t\.csv row 2: landmark_id '1e3' is not a whole number"),
        (TRAIN + "a,a.jpg,1,x\nb,b.jpg,1,y\n", r"t\.csv row 3: landmark 1 is named 'y', but was 'x'; mend the table"),
        (TRAIN + "a,../a.jpg,1,\n", r"t\.csv row 2: the path '\.\./a\.jpg' leaves the set's folder"),
        (TRAIN + "a,b/../../a.jpg,1,\n", r"t\.csv row 2: the path .* leaves the set's folder"),
        (TRAIN + "a,..\\a.jpg,1,\n", r"t\.csv row 2: the path .* leaves the set's folder"),
        (TRAIN + "a,/etc/passwd,1,\n", r"t\.csv row 2: the path '/etc/passwd' leaves the set's folder"),
        (TRAIN + "a,,1,\n", r"t\.csv row 2: the path '' leaves the set's folder"),
        (TRAIN + "a,a.jpg,1\n", r"t\.csv line 2: 3 cells where the header has 4; mend the table"),
        (TRAIN + 'a,"a\n.jpg",1,\n', r"t\.csv row 2: the cell path goes over several lines; look for a quote"),
    ],
)
def test_bad_training_tables(make, tmp_path, content, message):
    make.write(tmp_path / "t.csv", content)
    with pytest.raises(DataError, match=message):
        read_table_training(tmp_path, "t.csv")


BOXED = "image_id,path,x0,y0,x1,y1\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image_id,path,is_query\na,a.jpg,0\n", r"t\.csv: the evaluation set has no queries; give it rows"),
        ("image_id,path\n", r"t\.csv: the evaluation set has no queries; give it rows"),
        (
            "image_id,path,is_query\na,a.jpg,yes\n",
            r"t\.csv row 2: is_query is 'yes'; 1 or 0 is expected; mend",
        ),
        ("image_id,path,landmark_id\na,a.jpg,x\n", r"t\.csv row 2: landmark_id 'x' is not a whole number"),
        ("image_id,path,x0,y0\na,a.jpg,1,2\n", r"t\.csv row 1: a box (needs|has) the columns .* found only x0, y0"),
        (BOXED + "a,a.jpg,1,2,3,x\n", r"t\.csv row 2: 1,2,3,x is no box x0,y0,x1,y1 with x0 < x1 and y0 < y1"),
        (BOXED + "a,a.jpg,,,,\nb,b.jpg,1,,3,4\n", r"t\.csv row 3: 1,,3,4 is no box"),
        (BOXED + "a,a.jpg,3,2,1,4\n", r"t\.csv row 2: 3,2,1,4 is no box"),
        (BOXED + "a,a.jpg,1,2,nan,4\n", r"t\.csv row 2: 1,2,nan,4 is no box"),
        (BOXED + "a,a.jpg,1,2,1_0,4\n", r"t\.csv row 2: 1,2,1_0,4 is no box"),
        (BOXED + "a,a.jpg,1,2,٣,4\n", r"t\.csv row 2: 1,2,٣,4 is no box"),
        (BOXED + "a,a.jpg,1,2,1e999,4\n", r"t\.csv row 2: 1,2,1e999,4 is no box"),
        (BOXED + "a,a.jpg,1,2,inf,4\n", r"t\.csv row 2: 1,2,inf,4 is no box"),
        (BOXED + "a,a.jpg,-inf,2,5,4\n", r"t\.csv row 2: -inf,2,5,4 is no box"),
    ],
)
def test_bad_evaluation_tables(make, tmp_path, content, message):
    make.write(tmp_path / "t.csv", content)
    with pytest.raises(DataError, match=message):
        read_table_evaluation(tmp_path, "t.csv", name="own")


def test_missing_table(tmp_path):
    with pytest.raises(DataError, match=r"t\.csv: no such file; mend the table"):
        read_table_evaluation(tmp_path, "t.csv", name="own")
