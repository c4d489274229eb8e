import pickle

import pytest

from overlap.base.errors import DataError
from overlap.datasets.sfm120k import cid_path, read_sfm120k, read_sfm120k_landmarks

LISTS = {"cids": ["00abcdef", "11abcdee", "22abcded"], "cluster": [9, 4, 9], "qidxs": [0], "pidxs": [2]}


def write_pickle(make, root, content):
    make.write(root / "retrieval-SfM-120k.pkl", pickle.dumps(content))


def test_clusters_stand_for_landmarks(make, tmp_path):
    write_pickle(make, tmp_path, {"train": LISTS, "val": {"cids": ["33abcdec"], "cluster": [1]}})
    make.write(tmp_path / "ims/ef/cd/ab/00abcdef", b"x")
    found = read_sfm120k(tmp_path)
    assert found.images["image_id"].to_pylist() == LISTS["cids"]
    assert found.images["landmark_id"].to_pylist() == [9, 4, 9]
    assert [stamp == "missing" for stamp in found.images["stamp"].to_pylist()] == [False, True, True]
    assert found.landmarks.to_pylist() == [
        {"landmark_id": 9, "landmark_name": "", "n_images": 2},
        {"landmark_id": 4, "landmark_name": "", "n_images": 1},
    ]
    assert read_sfm120k_landmarks(tmp_path).equals(found.landmarks)
    assert read_sfm120k(tmp_path, split="val").images["image_id"].to_pylist() == ["33abcdec"]


def test_cid_path():
    assert cid_path("0123456789abcdef") == "ef/cd/ab/0123456789abcdef"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], r"retrieval-SfM-120k\.pkl: a dict with the keys train and val is expected; fetch it again"),
        ({"train": 3}, "a dict with the keys train and val is expected"),
        ({"train": {}}, r"train cids: a list of content ids is expected, and the training set must not be empty"),
        ({"train": LISTS | {"cids": []}}, "the training set must not be empty"),
        (
            {"train": LISTS | {"cids": ["00abcdef", "../../x", "2"]}},
            r"train cids\[1\]: '\.\./\.\./x' is not a content",
        ),
        (
            {"train": LISTS | {"cids": ["00abcdef", "abc", "2"]}},
            r"train cids\[1\]: 'abc' is not a content id: 6",
        ),
        ({"train": LISTS | {"cids": ["00abcdef", 5, "22abcded"]}}, r"train cids\[1\]: 5 is not a content id"),
        (
            {"train": LISTS | {"cids": ["00abcdef"] * 3}},
            r"train cids\[1\]: photo 00abcdef stands already .*cids\[0\]",
        ),
        ({"train": LISTS | {"cluster": [1, 2]}}, r"train cluster: .*3 .*is expected"),
        ({"train": LISTS | {"cluster": [1, 2, "x"]}}, r"train cluster: .*is expected; fetch it again"),
        ({"train": LISTS | {"cluster": [1, 2, 2**63]}}, r"train cluster: .*is expected"),
        ({"train": LISTS | {"cluster": None}}, r"train cluster: .*is expected"),
    ],
)
def test_bad_structure(make, tmp_path, content, message):
    write_pickle(make, tmp_path, content)
    with pytest.raises(DataError, match=message):
        read_sfm120k_landmarks(tmp_path)
