import hashlib

import pytest

from overlap.base.errors import DataError
from overlap.datasets.nc_clean import nc_clean_id, read_nc_clean, read_nc_clean_landmarks

LINES = ["http://x.org/a%20b.jpg 12 0 100 5 90", "http://x.org/c.JPG 3 1 2 3 4", "http://x.org/d?e=1 12 0 10 0 10"]


def test_lines_are_photos(make, tmp_path):
    make.write(tmp_path / "annotation_clean_train.txt", "\n".join(LINES) + "\n")
    first = hashlib.sha256(b"http://x.org/a%20b.jpg").hexdigest()[:16]
    make.write(tmp_path / f"images/{first}.jpg", b"x")
    found = read_nc_clean(tmp_path)
    assert found.images["image_id"].to_pylist() == [nc_clean_id(line.split()[0]) for line in LINES]
    assert found.images["image_id"][0].as_py() == first
    assert found.images["landmark_id"].to_pylist() == [12, 3, 12]
    assert [stamp == "missing" for stamp in found.images["stamp"].to_pylist()] == [False, True, True]
    assert found.images["crop_px"].null_count == 3
    assert found.landmarks["n_images"].to_pylist() == [2, 1]
    assert read_nc_clean_landmarks(tmp_path).equals(found.landmarks)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"annotation_clean_train\.txt: the training set is empty; fetch the list again"),
        (b"\xff\xff", r"annotation_clean_train\.txt: can't be read .byte 0xFF in line 1 is not UTF-8"),
        (
            f"{LINES[0]}\nhttp://x 1 2 3\n",
            r"row 2: an address, a class and a box x1 x2 y1 y2 are expected, found 'http://x",
        ),
        (f"{LINES[0]}\n\n", r"row 2: an address, a class and a box"),
        ("http://x 1 0 9 0 9.5\n", r"row 1: an address, a class and a box"),
        ("http://x 1 0 9 9 0\n", r"row 1: the box 0 9 9 0 does not read as x1 x2 y1 y2; bring its numbers"),
        ("http://x 1 9 9 0 1\n", r"row 1: the box 9 9 0 1 does not read as x1 x2 y1 y2"),
        (f"{LINES[0]}\n{LINES[1]}\n{LINES[0]}\n", r"row 3: the address with id [0-9a-f]{16} stands already at .*row 1"),
    ],
)
def test_bad_lists(make, tmp_path, content, message):
    make.write(tmp_path / "annotation_clean_train.txt", content)
    with pytest.raises(DataError, match=message):
        read_nc_clean(tmp_path)


def test_missing_list(tmp_path):
    with pytest.raises(DataError, match=r"can't be read \(.*No such file.*\); .*(again|mend)"):
        read_nc_clean(tmp_path)
