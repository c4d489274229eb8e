import numpy as np
import pytest

from overlap.base.tables import LocalFeatures
from overlap.verify import watermark
from overlap.verify.watermark import is_watermark

SIZE_PX = (640, 480)


def features(xy_px: np.ndarray) -> LocalFeatures:
    ones = np.ones(len(xy_px), np.float32)
    return LocalFeatures(xy_px.astype(np.float32), ones, ones, ones, ones[:, None], SIZE_PX)


def make(seed: int) -> tuple[LocalFeatures, LocalFeatures, np.ndarray]:
    """Return points of which a share lies in the lower border, moved by about one shift, and others scaled."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 60))
    marked = rng.random(n) < rng.choice([0.2, 0.6, 0.8, 1.0])
    low = np.column_stack([rng.uniform(80, 560, n), rng.uniform(420, 470, n)])
    x = np.where(marked[:, None], low, rng.uniform(0, 1, (n, 2)) * (630, 400))
    moved = x + (6, 3) + rng.uniform(-1, 1, (n, 2)) * rng.choice([0.5, 3, 8])
    y = np.where(marked[:, None], moved, x * (0.7, 0.8) + 50)
    return features(x), features(y), np.column_stack([np.arange(n)] * 2).astype(np.int32)


def test_colmap_is_asked_only_where_it_could_say_yes(monkeypatch: pytest.MonkeyPatch):
    scenes = [make(seed) for seed in range(80)]
    found = [is_watermark(*scene, seed=0) for scene in scenes]
    monkeypatch.setattr(watermark, "_may_be_watermark", lambda *_: True)
    assert [is_watermark(*scene, seed=0) for scene in scenes] == found
    assert 10 < sum(found) < 70


def test_colmap_is_not_asked_about_a_building(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (200, 2)) * SIZE_PX
    import pycolmap

    monkeypatch.setattr(pycolmap, "estimate_two_view_geometry", None)
    rows = np.column_stack([np.arange(200)] * 2).astype(np.int32)
    assert not is_watermark(features(x), features(x * 0.7 + 60), rows, seed=0)
