import numpy as np
import pytest
from facade import draw_facade

from overlap.base.config import VerifyConfig
from overlap.base.errors import ConfigError
from overlap.features import catalogue
from overlap.features.catalogue import DEFAULTS, load_extractor, load_matcher, load_nearest
from overlap.features.storage import round_features

KINDS = ("sift", "aliked", "disk", "keynet")


@pytest.fixture(scope="module")
def extractors(tmp_path_factory):
    """One extractor of every kind; the networks have random weights that went through a file."""
    import torch
    from kornia.feature import ALIKED, DISK

    from overlap.features.learned import _compose_keynet

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights")
    networks = {"aliked": ALIKED("aliked-n16rot"), "disk": DISK(), "keynet": _compose_keynet(8)}
    loaded = {"sift": load_extractor(VerifyConfig(size_px=320, keypoints=100))}
    for kind, network in networks.items():
        torch.save(network.state_dict(), folder / f"{kind}.pth")
        settings = VerifyConfig(features=kind, weights=folder / f"{kind}.pth", size_px=128, keypoints=100, device="cpu")
        loaded[kind] = load_extractor(settings)
    return loaded


def test_every_kind_has_defaults():
    assert set(DEFAULTS) == set(KINDS)


@pytest.mark.parametrize("shape", [(240, 320), (300, 100)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_keeps_the_contract_of_local_features(kind, shape, extractors):
    picture = draw_facade(5, width=shape[1], height=shape[0])
    found = extractors[kind](picture)
    m = len(found.xy_px)
    assert 0 < m <= 100
    assert found.size_px == (shape[1], shape[0])
    assert found.xy_px.shape == (m, 2)
    assert found.scales_px.shape == found.angles_deg.shape == found.responses.shape == (m,)
    for array in (found.xy_px, found.scales_px, found.angles_deg, found.responses, found.descriptors):
        assert array.dtype == np.float32
    assert (found.xy_px >= 0).all()
    assert (found.xy_px <= [shape[1] - 1, shape[0] - 1]).all()
    assert (np.diff(found.responses) <= 0).all()
    assert (found.scales_px > 0).all()
    angles = found.angles_deg[~np.isnan(found.angles_deg)]
    assert ((angles >= 0) & (angles < 360)).all()
    assert bool(len(angles)) == (kind in ("sift", "keynet"))
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1, atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_that_storage_gives_back_and_repeat(kind, extractors):
    picture = draw_facade(6)
    first, second = extractors[kind](picture), extractors[kind](picture.copy())
    for name in ("xy_px", "scales_px", "angles_deg", "responses", "descriptors"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_array_equal(round_features(first).descriptors, first.descriptors)


@pytest.mark.parametrize("kind", KINDS)
def test_a_black_picture_and_a_sliver_do_no_harm(kind, extractors):
    for shape in ((120, 160, 3), (2, 300, 3)):
        found = extractors[kind](np.zeros(shape, np.uint8))
        assert len(found.descriptors) == len(found.xy_px)
        assert np.isfinite(found.descriptors).all()


def test_weights_for_sift_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"w\.pth: sift has no weights; remove the key"):
        load_extractor(VerifyConfig(weights=tmp_path / "w.pth"))


def test_mutual_matching_needs_no_matcher():
    assert load_matcher(VerifyConfig()) is None


def test_many_pairs_are_matched_at_once_on_a_gpu_alone(monkeypatch):
    monkeypatch.setattr(catalogue, "choose_device", lambda device, *, key: "cpu" if device == "cpu" else "cuda")
    assert load_nearest(VerifyConfig()).keywords == {"device": "cuda"}
    assert load_nearest(VerifyConfig(device="cpu")) is None
    assert load_nearest(VerifyConfig(matcher="lightglue")) is None
