import math

import numpy as np
import pytest

from overlap.base.tables import LocalFeatures
from overlap.verify.evidence import (
    Correspondences,
    gather,
    measure_homography,
    weigh_fundamental,
    weigh_similarities,
)
from overlap.verify.match import Matches

SIGMA = 0.006


def make(seed=0, n=9, *, frames=True):
    rng = np.random.default_rng(seed)
    nan = np.full(n, np.nan)
    return Correspondences(
        x=rng.uniform(-0.4, 0.4, (n, 2)),
        y=rng.uniform(-0.4, 0.4, (n, 2)),
        trusts=rng.uniform(0.01, 0.6, n),
        angles_x=rng.uniform(0, 6, n) if frames else nan,
        angles_y=rng.uniform(0, 6, n) if frames else nan,
        scales_x=rng.uniform(0.01, 0.03, n),
        scales_y=rng.uniform(0.01, 0.03, n),
        area=0.48,
        sigma=SIGMA,
    )


def normal(value, sigma):
    return math.exp(-(value**2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)


def literal(found, p, x_to_y, y_to_x, *, growth=None, turned=None):
    """One match's nats, written out: densities of a right match over those of a random one."""
    forth = math.dist(x_to_y(found.x[p]), found.y[p])
    back = math.dist(y_to_x(found.y[p]), found.x[p])
    square = (forth**2 + back**2) / 2
    gain = math.exp(-square / (2 * SIGMA**2)) / (2 * math.pi * SIGMA**2) / (1 / found.area)
    if growth is not None:
        turn = found.angles_y[p] - turned(found.angles_x[p])
        turn = math.atan2(math.sin(turn), math.cos(turn))
        size = math.log(found.scales_y[p] / found.scales_x[p]) - math.log(growth)
        gain *= 0.9 * normal(turn, math.radians(15)) / (1 / (2 * math.pi)) + 0.1
        gain *= 0.9 * normal(size, 0.3) / (1 / 3) + 0.1
    trust = found.trusts[p]
    return math.log(1 - trust + trust * gain)


@pytest.mark.parametrize("frames", [True, False])
def test_nats_of_a_similarity_by_hand_in_both_writings(frames):
    found = make(frames=frames)
    a, b, c, d = 0.8 * math.cos(0.5), 0.8 * math.sin(0.5), 0.02, -0.03
    matrix = np.array([[a, -b, c], [b, a, d], [0, 0, 1.0]])
    inverse = np.linalg.inv(matrix)
    found.y[:6] = (found.x[:6] @ matrix[:2, :2].T + matrix[:2, 2]) + np.linspace(0, 0.01, 12).reshape(6, 2)
    wanted = [
        literal(
            found,
            p,
            lambda x: (matrix @ [*x, 1])[:2],
            lambda y: (inverse @ [*y, 1])[:2],
            growth=0.8 if frames else None,
            turned=lambda angle: angle + 0.5,
        )
        for p in range(9)
    ]
    assert max(wanted) > 2
    assert min(wanted) < 0
    np.testing.assert_allclose(measure_homography(found, matrix).weigh(), wanted, atol=1e-9)
    np.testing.assert_allclose(
        weigh_similarities(found, np.array([[a, b, c, d]]), coarseness=1.0)[0], wanted, atol=1e-9
    )


def test_nats_of_a_homography_use_its_local_stretch_and_turn():
    found = make(3)
    matrix = np.array([[1.1, 0.1, 0.01], [-0.05, 0.9, 0.02], [0.3, -0.2, 1.0]])

    def image(x):
        z = matrix @ [*x, 1]
        return z[:2] / z[2]

    for p in range(9):
        found.y[p] = image(found.x[p])
        step = 1e-6
        right = (image(found.x[p] + [step, 0]) - image(found.x[p] - [step, 0])) / (2 * step)
        down = (image(found.x[p] + [0, step]) - image(found.x[p] - [0, step])) / (2 * step)
        slopes = np.column_stack([right, down])
        arm = slopes @ [math.cos(found.angles_x[p]), math.sin(found.angles_x[p])]
        wanted = literal(
            found,
            p,
            image,
            lambda _, p=p: found.x[p],
            growth=math.sqrt(np.linalg.det(slopes)),
            turned=lambda _, arm=arm: math.atan2(arm[1], arm[0]),
        )
        assert measure_homography(found, matrix).weigh()[p] == pytest.approx(wanted, abs=1e-5)


def test_a_mirror_a_collapse_and_a_tear_explain_nothing():
    found = make(1, frames=False)
    for matrix in (
        np.diag([-1.0, 1.0, 1.0]),
        np.diag([1e-3, 1e-3, 1.0]),
        np.array([[1, 0, 0], [0, 1, 0], [40.0, 0, -1.0]]),
    ):
        z = np.column_stack([found.x, np.ones(9)]) @ matrix.T
        found.y[:] = z[:, :2] / z[:, 2:]
        nats = measure_homography(found, matrix).weigh()
        assert (nats[(z[:, 2] * matrix[2, 2] <= 0) | (abs(matrix[2, 0]) < 1)] < 0).all()


def test_nats_of_a_fundamental_matrix_by_hand():
    found = make(2, frames=False)
    # A camera that moves sideways: epipolar lines are the rows, so only y differs.
    matrix = np.array([[0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
    found.y[:, 1] = found.x[:, 1] + np.linspace(-0.02, 0.02, 9)
    for p, nats in enumerate(weigh_fundamental(found, matrix)):
        off = found.y[p, 1] - found.x[p, 1]
        gain = normal(off, SIGMA) * math.sqrt(0.48)
        assert nats == pytest.approx(math.log(1 - found.trusts[p] + found.trusts[p] * gain), abs=1e-9)


@pytest.mark.parametrize(
    ("sizes", "sigma"),
    [(((300, 400), (300, 400)), 4 / 500), (((300, 400), (3000, 4000)), 4 / 800), (((6000, 8000),) * 2, 4 / 1280)],
)
def test_sigma_is_in_pixels_up_to_the_size_at_which_features_are_found(sizes, sigma):
    one = np.ones(1, np.float32)
    query, photo = (LocalFeatures(np.ones((1, 2), np.float32), one, one, one, one[:, None], size) for size in sizes)
    matches = Matches(np.zeros((1, 2), np.int32), np.ones(1) / 2)
    assert gather(query, photo, matches, sigma_px=4).sigma == pytest.approx(sigma)
