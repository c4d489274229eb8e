import os
from pathlib import Path

import numpy as np
import pytest
import torch
from kornia.feature import LightGlue

from overlap.base.config import VerifyConfig
from overlap.base.errors import ConfigError
from overlap.base.tables import LocalFeatures
from overlap.base.weights import read_weights
from overlap.features.catalogue import load_matcher
from overlap.features.lightglue import load_lightglue, rename_weights

SHARED = Path(os.environ.get("OVERLAP_SHARED", Path(__file__).parents[2] / "../shared"))


def features(seed, n=30):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 128))
    return LocalFeatures(
        rng.uniform(0, 99, (n, 2)).astype(np.float32),
        np.full(n, 4, np.float32),
        rng.uniform(0, 360, n).astype(np.float32),
        np.ones(n, np.float32),
        (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
        (100, 100),
    )


def published(kind):
    """Random weights under the names of the published files."""
    torch.manual_seed(0)
    state = LightGlue(None, **{**LightGlue.features[kind], "weights": None}).state_dict()
    names = {name: name.split(".") for name in state}
    return {
        ".".join([parts[2], parts[1], *parts[3:]]) if parts[0] == "transformers" else name: state[name]
        for name, parts in names.items()
    }


@pytest.mark.parametrize("kind", ["sift", "aliked"])
def test_published_weights_match_two_photos(kind, tmp_path):
    torch.save(published(kind), tmp_path / "lg.pth")
    match = load_matcher(
        VerifyConfig(features=kind, matcher="lightglue", matcher_weights=tmp_path / "lg.pth", device="cpu")
    )
    pairs, confidences = match(features(0), features(1, 20))
    assert pairs.dtype == np.int32
    assert pairs.shape == (len(confidences), 2)
    assert ((confidences >= 0) & (confidences <= 1)).all()


def test_renaming_gives_todays_names():
    wanted = LightGlue(None, **{**LightGlue.features["aliked"], "weights": None}).state_dict()
    assert set(rename_weights(published("aliked"))) == set(wanted)


LAYOUTS = {
    "plain": lambda weights: weights,
    "with the scales that DISK's has": lambda weights: {
        **weights,
        **{f"log_assignment.{layer}.r": torch.ones(1) for layer in range(9)},
    },
    "of a training of both": lambda weights: {
        "model": {
            **{f"matcher.{name}": value for name, value in weights.items()},
            "matcher.log_assignment.0.r": torch.ones(1),
            "extractor.conv.weight": torch.ones(3),
        },
        "optimizer": {"state": {}},
    },
    "compiled": lambda weights: {f"_orig_mod.{name}": value for name, value in weights.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_official_and_training_files_hold_what_the_plain_one_holds(layout, tmp_path):
    weights = published("disk")
    torch.save(LAYOUTS[layout](weights), tmp_path / "lg.pth")
    found, expected = rename_weights(read_weights(tmp_path / "lg.pth")), rename_weights(weights)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_official_layout_of_disk_is_loaded(tmp_path):
    weights = LAYOUTS["with the scales that DISK's has"](published("disk"))
    torch.save(weights, tmp_path / "lg.pth")
    assert load_lightglue("disk", tmp_path / "lg.pth", device="cpu")(features(0), features(1, 0))[0].shape == (0, 2)


def test_other_unknown_weights_are_refused(tmp_path):
    torch.save({**published("disk"), "log_assignment.0.s": torch.ones(1)}, tmp_path / "lg.pth")
    with pytest.raises(ConfigError, match=r"lg\.pth is not a checkpoint of the LightGlue network: 0 weights are miss"):
        load_lightglue("disk", tmp_path / "lg.pth", device="cpu")


@pytest.mark.long
@pytest.mark.parametrize(("kind", "name"), [("aliked", "aliked_lightglue.pth"), ("disk", "disk_lightglue.pth")])
def test_official_weights_load(kind, name):
    path = SHARED / "weights" / name
    if not path.is_file():
        pytest.skip(f"{path} is not here: official LightGlue weights")
    pairs, _ = load_lightglue(kind, path, device="cpu")(features(0), features(1, 20))
    assert pairs.shape[1] == 2


def test_a_photo_without_features_has_no_matches(tmp_path):
    torch.save(published("aliked"), tmp_path / "lg.pth")
    pairs, confidences = load_lightglue("aliked", tmp_path / "lg.pth", device="cpu")(features(0), features(1, 0))
    assert pairs.shape == (0, 2)
    assert confidences.shape == (0,)


def test_keynet_has_no_lightglue_here():
    with pytest.raises(ConfigError, match='matcher = "lightglue" works with sift, aliked, disk, not with keynet'):
        load_lightglue("keynet", None, device="cpu")
