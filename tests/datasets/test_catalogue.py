"""One contract for every format."""

import os
import pickle
import subprocess
import sys
from collections import Counter

import pytest

from overlap.base.config import EvaluationConfig, TrainConfig
from overlap.base.errors import ConfigError
from overlap.base.tables import IMAGES, LANDMARKS, checked
from overlap.datasets.catalogue import (
    list_archives,
    read_evaluation_set,
    read_landmarks,
    read_training_set,
    upstream_files,
)

TRAINING = ("gldv2", "synthetic", "sfm120k", "nc_clean", "csv")
EVALUATION = ("revisited", "synthetic", "csv")
IDS = ["1234567890123456", "12345678901234e5", "0f0e0d0c0b0a0908"]


@pytest.fixture
def train(make, tmp_path, request):
    kind = request.param
    if kind in ("gldv2", "synthetic"):
        make.gldv2(tmp_path / "gldv2", {41: IDS[:2], 7: IDS[2:]})
        return TrainConfig(format=kind, root=tmp_path / ("gldv2" if kind == "gldv2" else ""))
    if kind == "sfm120k":
        content = {"train": {"cids": IDS, "cluster": [41, 41, 7]}}
        make.write(tmp_path / "retrieval-SfM-120k.pkl", pickle.dumps(content))
    elif kind == "nc_clean":
        lines = [f"http://x/{name} {label} 0 9 0 9\n" for name, label in zip(IDS, (41, 41, 7), strict=True)]
        make.write(tmp_path / "annotation_clean_train.txt", "".join(lines))
    else:
        lines = [f"{name},d/{name}.jpg,{label}\n" for name, label in zip(IDS, (41, 41, 7), strict=True)]
        make.write(tmp_path / "images.csv", "image_id,path,landmark_id\n" + "".join(lines))
    return TrainConfig(format=kind, root=tmp_path)


@pytest.mark.parametrize("train", TRAINING, indirect=True)
@pytest.mark.parametrize("stamp", ["mtime", "sha256"])
def test_training_contract(train, stamp):
    train = train.model_copy(update={"stamp": stamp})
    seen = []
    found = read_training_set(train, progress=seen.append)
    rows = checked(found.images, IMAGES).to_pylist()
    assert sum(seen) == len(rows) == 3
    assert len({row["image_id"] for row in rows}) == 3
    assert {row["source"] for row in rows} == {train.format}
    assert all(isinstance(row["landmark_name"], str) for row in rows)
    counts = Counter(row["landmark_id"] for row in rows)
    landmarks = checked(found.landmarks, LANDMARKS)
    assert dict(zip(*(landmarks[name].to_pylist() for name in ("landmark_id", "n_images")), strict=True)) == counts
    assert landmarks["landmark_id"].to_pylist() == [41, 7]
    assert read_landmarks(train).equals(landmarks)
    assert list_archives(train) == ()


@pytest.mark.parametrize("train", ["gldv2", "synthetic", "csv"], indirect=True)
def test_upstream_files(train):
    files = upstream_files(train)
    assert files[0].name == ("images.csv" if train.format == "csv" else "train_clean.csv")
    assert all("landmark_id" in path.read_text().splitlines()[0] for path in files)


@pytest.mark.parametrize("train", ["sfm120k", "nc_clean"], indirect=True)
def test_formats_without_a_list_to_filter(train):
    with pytest.raises(ConfigError, match=r'train\.format "\w+" has no list .*; export the set as a table .* = "csv"'):
        upstream_files(train)


def test_lists_alone_are_enough_for_a_release(make, tmp_path):
    make.write(tmp_path / "train_clean.csv", f"landmark_id,images\n5,{IDS[0]} {IDS[1]}\n")
    config = TrainConfig(format="gldv2", root=tmp_path)
    assert read_landmarks(config).to_pylist() == [{"landmark_id": 5, "landmark_name": "", "n_images": 2}]
    assert upstream_files(config) == (tmp_path / "train_clean.csv",)


@pytest.fixture
def evaluation(make, tmp_path, request):
    if request.param == "csv":
        make.write(tmp_path / "images.csv", "image_id,path,is_query\nq_1,a.jpg,1\nq_2,b.jpg,1\nd,c.jpg,0\n")
    else:
        root = tmp_path / "set" if request.param == "synthetic" else tmp_path
        make.revisited(root, make.truth(), photos=["q_1", "a_1"])
    return EvaluationConfig(format=request.param, name="set", root=tmp_path)


@pytest.mark.parametrize("evaluation", EVALUATION, indirect=True)
def test_evaluation_contract(evaluation):
    found = read_evaluation_set(evaluation)
    for table in (found.queries, found.photos):
        ids = checked(table, IMAGES)["image_id"].to_pylist()
        assert len(set(ids)) == len(ids)
        assert set(table["source"].to_pylist()) == {"set"}
    assert found.name == "set"
    assert found.queries["image_id"].to_pylist() == ["q_1", "q_2"]
    if found.ground_truth is not None:
        assert len(found.ground_truth) == 2
        rows = {row for truth in found.ground_truth for label in (truth.easy, truth.hard, truth.junk) for row in label}
        assert rows <= set(range(len(found.photos)))


def test_archives_are_listed(make, tmp_path):
    make.tar(tmp_path / "gldv2/train/images_000.tar", {})
    for config in (
        TrainConfig(format="gldv2", root=tmp_path / "gldv2"),
        TrainConfig(format="synthetic", root=tmp_path),
    ):
        assert [path.name for path in list_archives(config)] == ["images_000.tar"]


def test_importing_costs_nothing_heavy():
    heavy = "{'torch', 'cv2', 'faiss', 'kornia', 'pycolmap', 'httpx', 'PIL'}"
    code = f"import sys, overlap.datasets.catalogue, overlap.datasets.download; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
