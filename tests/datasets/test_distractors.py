import pytest

from overlap.base.errors import DataError
from overlap.base.tables import IMAGES
from overlap.datasets.distractors import read_distractors


def test_names_keep_their_endings(make, tmp_path):
    make.write(tmp_path / "revisitop1m.txt", "0a/1234567890.jpg\n1b/x y.png\n")
    make.write(tmp_path / "jpg/1b/x y.png", b"x")
    seen = []
    found = read_distractors(tmp_path, progress=seen.append)
    assert found.schema == IMAGES
    assert found["image_id"].to_pylist() == ["0a/1234567890.jpg", "1b/x y.png"]
    assert found["path"][1].as_py() == str(tmp_path / "jpg/1b/x y.png")
    assert [stamp == "missing" for stamp in found["stamp"].to_pylist()] == [True, False]
    assert sum(seen) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"revisitop1m\.txt: the list of distractors is empty; fetch it again with 'overlap download revisitop1m'"),
        (b"\xff\n", r"revisitop1m\.txt: can't be read .*; fetch it again"),
        ("a.jpg\n../b.jpg\n", r"revisitop1m\.txt row 2: the path '\.\./b\.jpg' leaves"),
        ("a.jpg\n\nb.jpg\n", r"revisitop1m\.txt row 2: the path '' leaves"),
        ("a.jpg\nb.jpg\na.jpg\n", r"revisitop1m\.txt row 3: photo a\.jpg stands already at .*row 1; keep it once"),
    ],
)
def test_bad_lists(make, tmp_path, content, message):
    make.write(tmp_path / "revisitop1m.txt", content)
    with pytest.raises(DataError, match=message):
        read_distractors(tmp_path)
