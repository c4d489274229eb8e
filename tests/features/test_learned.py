import os
from pathlib import Path

import numpy as np
import pytest
import torch
from facade import draw_facade
from kornia.feature import ALIKED, DISK
from mutate import mutations, within

from overlap.base.errors import ConfigError
from overlap.features import learned
from overlap.features.learned import extract_learned, fetch_public, fill_weights

SHARED = Path(os.environ.get("OVERLAP_SHARED", Path(__file__).parents[2] / "../shared"))


def test_weights_of_another_network_are_refused_by_name(tmp_path):
    torch.save(DISK().state_dict(), tmp_path / "disk.pth")
    with pytest.raises(
        ConfigError, match=r"disk\.pth is not a checkpoint of the ALIKED network: \d+ weights are missing"
    ):
        learned.load_aliked(tmp_path / "disk.pth", keypoints=10, device="cpu")


def test_weights_of_another_width_are_refused_by_name():
    state = ALIKED("aliked-t16").state_dict()
    with pytest.raises(
        ConfigError, match=r"small is not a checkpoint of the ALIKED network: block1.conv1.weight is \(8, "
    ):
        fill_weights(ALIKED("aliked-n16"), state, where="small")


def test_statistics_of_batch_normalisation_may_not_be_missing():
    state = ALIKED("aliked-n16").state_dict()
    del state["block1.bn1.running_var"]
    with pytest.raises(ConfigError, match=r"1 weights are missing \(first: block1.bn1.running_var\), 0 are not"):
        fill_weights(ALIKED("aliked-n16"), state, where="file")


@pytest.mark.parametrize("n", [10, pytest.param(1000, marks=pytest.mark.long)])
def test_damaged_weights_are_loaded_or_refused_in_one_sentence(n, tmp_path):
    path = tmp_path / "bad.pth"
    torch.save(ALIKED("aliked-n16rot").state_dict(), path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    names = whole.index(b"block1.conv1.weight") + 4000  # what comes later is numbers, for the most part
    for damaged in mutations(whole[:names], n=n, seed=0):
        path.write_bytes(damaged + whole[names:])
        with within(2):
            try:
                learned.load_aliked(path, keypoints=10, device="cpu")
            except ConfigError as error:
                assert "bad.pth" in str(error)  # noqa: PT017


def test_disk_takes_the_published_layout(tmp_path):
    torch.manual_seed(0)
    state = DISK().state_dict()
    torch.save({"extractor": state, "disc": {}}, tmp_path / "published.pth")
    torch.save(state, tmp_path / "plain.pth")
    image = np.random.default_rng(0).uniform(size=(3, 64, 64)).astype(np.float32)
    published, plain = (
        learned.load_disk(tmp_path / name, keypoints=20, device="cpu")(image) for name in ("published.pth", "plain.pth")
    )
    assert len(plain[0])
    np.testing.assert_array_equal(published[4], plain[4])


def test_public_weights_that_cannot_be_had_say_what_to_do():
    def fail():
        raise OSError("no route to host")

    with pytest.raises(ConfigError, match=r"weights a\.pth can't be had \(no route to host\); name a local"):
        fetch_public(fail, ["a.pth"])


def test_public_weights_with_another_hash_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "AffNet.pth").write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"AffNet\.pth: its SHA-256 starts with \w+, not 65c8bb2cf71e"):
        fetch_public(dict, ["AffNet.pth"])


def test_detections_outside_the_picture_are_dropped_and_the_rest_sorted():
    def detect(image):
        xy = np.array([[10, 10], [20, 70], [30, 5]], np.float32)
        ones = np.ones(3, np.float32)
        return xy, ones, ones, np.array([1, 9, 5], np.float32), np.eye(3, dtype=np.float32)

    found = extract_learned(np.zeros((40, 200, 3), np.uint8), detect=detect, size_px=100)
    # 20 rows were padded to 64; halves of the positions lie at twice the place, less half a pixel's rounding.
    np.testing.assert_allclose(found.xy_px, [[60.5, 10.5], [20.5, 20.5]])
    np.testing.assert_array_equal(found.descriptors, np.eye(3)[[2, 0]])


def test_real_aliked_follows_a_turn_of_the_picture():
    weights = SHARED / "weights" / "aliked-n16rot.pth"
    if not weights.is_file():
        pytest.skip(f"{weights} is not here: real ALIKED weights")
    detect = learned.load_aliked(weights, keypoints=200, device="cpu")
    picture = draw_facade(4, width=192, height=160)
    plain = extract_learned(picture, detect=detect, size_px=192)
    turned = extract_learned(np.ascontiguousarray(picture[::-1, ::-1]), detect=detect, size_px=192)
    back = np.array([191, 159]) - turned.xy_px
    near = np.linalg.norm(plain.xy_px[:, None] - back, axis=2).min(axis=1)
    assert (near < 2).mean() > 0.6
