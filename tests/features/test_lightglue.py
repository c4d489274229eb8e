import numpy as np
import pytest
import torch
from kornia.feature import LightGlue

from overlap.config import VerifyConfig
from overlap.errors import ConfigError
from overlap.features.catalogue import load_matcher
from overlap.features.lightglue import load_lightglue, rename_weights
from overlap.tables import LocalFeatures


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


def test_a_photo_without_features_has_no_matches(tmp_path):
    torch.save(published("aliked"), tmp_path / "lg.pth")
    pairs, confidences = load_lightglue("aliked", tmp_path / "lg.pth", device="cpu")(features(0), features(1, 0))
    assert pairs.shape == (0, 2)
    assert confidences.shape == (0,)


def test_keynet_has_no_lightglue_here():
    with pytest.raises(ConfigError, match='matcher = "lightglue" works with sift, aliked, disk, not with keynet'):
        load_lightglue("keynet", None, device="cpu")
