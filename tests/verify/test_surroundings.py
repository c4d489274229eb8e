"""The features around the inliers speak for a model only if it, and not its shifted copies, brings like to like."""

from dataclasses import replace
from math import log

import numpy as np
import pytest

from overlap.base.config import VerifyConfig
from overlap.base.tables import LocalFeatures
from overlap.verify.pairs import verify_pair
from overlap.verify.surroundings import weigh_surroundings

SIGMA = 0.003
NOTHING = np.zeros(0, np.int64)


def _features(seed: int, *, xy_px: np.ndarray | None = None, descriptors: np.ndarray | None = None) -> LocalFeatures:
    rng = np.random.default_rng(seed)
    xy_px = rng.uniform(0, [639, 479], (600, 2)) if xy_px is None else xy_px
    rows = rng.normal(size=(len(xy_px), 16)) if descriptors is None else descriptors
    rows = np.round(rows / np.linalg.norm(rows, axis=1, keepdims=True) * 2048) / 2048
    ones = np.ones(len(xy_px), np.float32)
    return LocalFeatures(xy_px.astype(np.float32), ones, ones * np.nan, ones, rows.astype(np.float32), (640, 480))


def _slowly(query: LocalFeatures, photo: LocalFeatures, matrix: np.ndarray, used: np.ndarray, sigma: float) -> float:
    """Say the same feature by feature."""
    size = np.array([640.0, 480.0])
    x, y = ((one.xy_px.astype(np.float64) - (size - 1) / 2) / 800 for one in (query, photo))

    def bring_together(shift: tuple[float, float]) -> list[float]:
        nearest: dict[int, tuple[float, int]] = {}
        for row in sorted(set(range(len(x))) - set(used.tolist())):
            a, b, c = matrix @ [*x[row], 1.0]
            image = np.array([a / c, b / c])
            if c * matrix[2, 2] <= 0 or (np.abs(image) >= size / 1600).any():
                continue
            apart = np.linalg.norm(y - (image + shift), axis=1)
            best = int(apart.argmin())
            if apart[best] < 2 * sigma and (best not in nearest or apart[best] < nearest[best][0]):
                nearest[best] = (float(apart[best]), row)
        return [float(query.descriptors[row] @ photo.descriptors[best]) for best, (_, row) in nearest.items()]

    far = 15 * sigma
    here = bring_together((0, 0))
    shifts = ((far, 0), (-far, 0), (0, far), (0, -far))
    beside = [cosine for shift in shifts for cosine in bring_together(shift)]
    if not here or len(beside) < 40:
        return 0.0
    share = sum(cosine > np.quantile(beside, 0.95) for cosine in here) / len(here)
    if share <= 0.05:
        return 0.0
    rest = (1 - share) * log((1 - share) / 0.95) if share < 1 else 0.0
    return len(here) * (share * log(share / 0.05) + rest)


@pytest.mark.parametrize("seed", range(4))
def test_it_equals_a_loop_over_features(seed: int):
    rng = np.random.default_rng(seed)
    query = _features(seed)
    moved = query.xy_px[:400] * 0.9 + rng.normal(scale=1.5, size=(400, 2)) + 20
    blurred = query.descriptors[:400] + rng.normal(scale=0.25 * seed, size=(400, 16))
    photo = _features(seed + 9, xy_px=moved, descriptors=blurred)
    matrix = np.array([[0.9, 0.01, -0.01], [0.0, 0.9, -0.005], [0.02, -0.03, 1.0]])
    used = rng.choice(600, 50, replace=False).astype(np.int64)
    found = weigh_surroundings(query, photo, matrix, used=used, sigma=SIGMA)
    assert found == pytest.approx(_slowly(query, photo, matrix, used, SIGMA), rel=1e-9)
    assert found > 0


def test_the_same_photo_earns_log_20_a_feature():
    photo = _features(1)
    assert weigh_surroundings(photo, photo, np.eye(3), used=NOTHING, sigma=SIGMA) == pytest.approx(
        600 * log(20), rel=0.01
    )


def test_unlike_features_on_the_same_places_earn_nothing_to_speak_of():
    query = _features(1)
    gained = [
        weigh_surroundings(query, _features(seed, xy_px=query.xy_px), np.eye(3), used=NOTHING, sigma=SIGMA)
        for seed in range(2, 12)
    ]
    assert np.mean(gained) < 5  # of the 1,797 that like features earn


def test_what_the_model_rests_on_is_not_counted_again():
    query = _features(1)
    rows = np.arange(600)
    assert weigh_surroundings(query, query, np.eye(3), used=rows, sigma=SIGMA) == 0
    half = weigh_surroundings(query, query, np.eye(3), used=rows[::2], sigma=SIGMA)
    assert half == pytest.approx(300 * log(20), rel=0.01)


def test_too_few_neighbours_say_nothing():
    few = _features(1, xy_px=np.array([[10.0, 10.0], [300.0, 200.0]]))
    assert weigh_surroundings(few, few, np.eye(3), used=NOTHING, sigma=SIGMA) == 0


@pytest.mark.parametrize(("angle", "counts"), [(np.nan, True), (0.0, False)])
def test_surroundings_count_where_features_have_no_orientation(monkeypatch, angle: float, counts: bool):
    one = replace(_features(1), angles_deg=np.full(600, angle, np.float32))

    def score(nats: float) -> float:
        monkeypatch.setattr("overlap.verify.pairs.weigh_surroundings", lambda *_, **__: nats)
        return verify_pair(one, one, settings=VerifyConfig(features="aliked")).score

    assert (score(1000.0) > score(0.0)) == counts
