import numpy as np
import pytest
import torch

from overlap.base.config import NetworkConfig
from overlap.base.errors import ConfigError
from overlap.base.images import PhotoLimits
from overlap.pipeline.look import Eye, find_attention, find_box, load_upright, open_eye, open_trained, open_untrained
from overlap.study.networks.catalogue import build_network

PHOTO = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)


def eye_of(heat, *, threshold=0.5):
    return Eye(lambda photos: torch.tensor([heat]), threshold, 64)


def test_the_box_is_that_of_the_part_with_most_attention():
    assert find_box(eye_of([[0.9, 0.0, 0.6], [0.0, 0.0, 0.7]]), PHOTO) == (128 * 2 / 3, 0, 128, 96)
    assert find_box(eye_of([[0.1, 0.2]]), PHOTO) == (0, 0, 128, 96)


def test_cider_looks_by_its_attention_at_its_highest_threshold():
    network = build_network("cider_small").eval()
    eye = open_eye(network, size_px=64)
    assert eye.threshold == pytest.approx(2 / 3)
    photo = torch.from_numpy(PHOTO[::2, ::2].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = network.attention(photo)[0].numpy()
    found = find_attention(eye, PHOTO)
    assert found.shape == expected.shape
    assert 0 <= found.min() <= found.max() <= 1


def test_the_plain_network_looks_where_its_backbone_responds():
    network = build_network("gem_small").eval()
    found = find_attention(open_eye(network, size_px=128), PHOTO)
    with torch.no_grad():
        features = network.trunk(network.colours(torch.from_numpy(PHOTO).permute(2, 0, 1)[None].float() / 255))
    strength = np.sqrt((features[0].numpy() ** 2).sum(axis=0))
    np.testing.assert_allclose(found, (strength - strength.min()) / np.ptp(strength), atol=1e-4)


def test_an_untrained_network_is_what_training_starts_from():
    network = open_untrained(NetworkConfig(name="cider_small", cider={"gate": "soft"}), seed=3)
    expected = build_network("cider_small", seed=3)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), expected.parameters(), strict=True))
    assert network.localise.settings.gate == "soft"


def test_photos_that_are_stored_turned_are_left_out(tmp_path):
    from PIL import Image

    for name, turn in (("upright", 1), ("turned", 6)):
        exif = Image.Exif()
        exif[0x0112] = turn
        Image.fromarray(PHOTO).save(tmp_path / f"{name}.jpg", exif=exif)
    rows = {name: {"path": str(tmp_path / f"{name}.jpg"), "crop_px": [1, 1, 9, 9]} for name in ("upright", "turned")}
    assert load_upright(rows["upright"], PhotoLimits()).shape == PHOTO.shape
    assert load_upright(rows["turned"], PhotoLimits()) is None


def test_weights_alone_are_no_trained_network(tmp_path):
    torch.save(build_network("gem_small").state_dict(), tmp_path / "weights.pt")
    with pytest.raises(ConfigError, match=r"weights.pt holds weights alone; name a checkpoint of 'overlap train'"):
        open_trained(tmp_path / "weights.pt")
