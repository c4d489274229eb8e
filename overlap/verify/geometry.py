"""Matches -> the geometric model that explains most, by evidence against chance.

Three sources of models, because each finds what the others miss: similarities from single features (or from
neighbours), tried all of them, find a model among 2 % right matches; OpenCV's USAC finds homographies; and fundamental
matrices where the scene is deep.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.verify.evidence import (
    AFFINE_PARAMETERS,
    FUNDAMENTAL_PARAMETERS,
    HOMOGRAPHY_PARAMETERS,
    PARAMETER_NATS,
    SIMILARITY_PARAMETERS,
    Correspondences,
    Residuals,
    measure_homography,
    weigh_fundamental,
    weigh_similarities,
)
from overlap.verify.match import FloatRows

INLIER_NATS = 1.0

_SEEDS = 120
_NEIGHBOURS = 5
_STARTS = 2
_COARSE = 3.0
_GROWTHS = (0.1, 10.0)
_HOPELESS_NATS = -10.0
_PIXELS = 1000.0
_USAC_MATCHES = 300
_USAC_TRUST = 0.02
_USAC_SIGMAS = 2.0
# How coarsely matches are weighed, and what is fitted to those that speak for the model before.
_ROUNDS = (
    (3.0, AFFINE_PARAMETERS),
    (2.0, AFFINE_PARAMETERS),
    (1.0, AFFINE_PARAMETERS),
    (2.0, HOMOGRAPHY_PARAMETERS),
    (1.0, HOMOGRAPHY_PARAMETERS),
)


@dataclass(frozen=True)
class Model:
    """Hold a model with what it earns.

    Args:
        geometry: homography or fundamental.
        matrix: (3, 3) in the coordinates of Correspondences.
        nats: (P,) what every match adds.
        n_parameters: what the model is fitted with.
    """

    geometry: str
    matrix: FloatRows
    nats: FloatRows
    n_parameters: int

    @property
    def evidence(self) -> float:
        """Return the sum, less the cost of the parameters, in nats."""
        return float(self.nats.sum()) - PARAMETER_NATS * self.n_parameters

    @property
    def inliers(self) -> NDArray[np.int64]:
        """Return the rows of the matches that speak for the model."""
        return np.flatnonzero(self.nats > INLIER_NATS)


# By what is fitted and to which matches.
_Fits: TypeAlias = dict[tuple[int, bytes], tuple[Model, Residuals] | None]


def find_models(found: Correspondences, *, seed: int) -> list[Model]:
    """Return the models that were tried, most evidence first; none where no model can be drawn at all.

    Hopeless pairs stop after the similarities. The same input and seed give the same models.

    Args:
        found: matches, most trusted first.
        seed: of OpenCV's sampling.
    """
    starts, deep = find_similarities(found), None
    if starts and max(model.evidence for model in starts) >= _HOPELESS_NATS:
        sampled = sample_homography(found, seed=seed)
        starts += [] if sampled is None else [sampled]
        deep = sample_fundamental(found, seed=seed)
    fits: _Fits = {}
    models = [refine(found, start, fits) for start in starts] + ([] if deep is None else [deep])
    return sorted(models, key=lambda model: -model.evidence)


def find_similarities(found: Correspondences) -> list[Model]:
    """Return the few best similarities among those that features propose, most evidence first."""
    maps = _propose_from_frames(found) if found.has_frames else _propose_from_neighbours(found)
    growths = np.hypot(maps[:, 0], maps[:, 1])
    maps = maps[(growths > _GROWTHS[0]) & (growths < _GROWTHS[1])]
    if not len(maps):
        return []
    sums = weigh_similarities(found, maps, coarseness=_COARSE).sum(axis=1)
    best = maps[np.argsort(-sums, kind="stable")[:_STARTS]]
    return [_similarity(*each) for each in zip(best, weigh_similarities(found, best), strict=True)]


def refine(found: Correspondences, model: Model, fits: _Fits) -> Model:
    """Fit an affinity, then a homography, to what a model explains, from coarse to fine; return the best of all.

    Args:
        fits: what was fitted to these matches already, and gets more: other models often explain the same of them.
    """
    best, residuals = model, measure_homography(found, model.matrix)
    for coarseness, n_parameters in _ROUNDS:
        rows = np.flatnonzero(residuals.weigh(coarseness) > INLIER_NATS)
        key = n_parameters, rows.tobytes()
        if key not in fits:
            fits[key] = _fit(found, rows, n_parameters)
        fitted = fits[key]
        if fitted is None:
            break
        best, residuals = max(best, fitted[0], key=lambda each: each.evidence), fitted[1]
    return best


def sample_homography(found: Correspondences, *, seed: int) -> Model | None:
    """Return OpenCV's USAC homography: MAGSAC scores, PROSAC order; None where it finds none."""
    import cv2

    matrix = _sampled(cv2.findHomography, found, fewest=5, seed=seed)
    if matrix is None:
        return None
    matrix = _to_pixels(-1) @ matrix @ _to_pixels(1)
    return Model("homography", matrix, measure_homography(found, matrix).weigh(), HOMOGRAPHY_PARAMETERS)


def sample_fundamental(found: Correspondences, *, seed: int) -> Model | None:
    """Return OpenCV's USAC fundamental matrix; None where it finds none, or one that fits a mirrored picture."""
    import cv2

    matrix = _sampled(cv2.findFundamentalMat, found, fewest=9, seed=seed)
    if matrix is None:
        return None
    matrix = _to_pixels(1).T @ matrix @ _to_pixels(1)
    model = Model("fundamental", matrix, weigh_fundamental(found, matrix), FUNDAMENTAL_PARAMETERS)
    return None if _is_mirrored(found, model.inliers) else model


def _is_mirrored(found: Correspondences, rows: NDArray[np.int64]) -> bool:
    """Tell whether points go over into a mirror image on the whole, which epipolar lines alone don't notice."""
    design = np.column_stack([found.x[rows], np.ones(len(rows))])
    linear = np.linalg.lstsq(design, found.y[rows], rcond=1e-6)[0][:2]
    return bool(linear[0, 0] * linear[1, 1] < linear[0, 1] * linear[1, 0])


def _propose_from_frames(found: Correspondences) -> FloatRows:
    turn = (found.angles_y - found.angles_x)[:_SEEDS]
    growth = (found.scales_y / found.scales_x)[:_SEEDS]
    return _through_points(found.x[:_SEEDS], found.y[:_SEEDS], growth * np.exp(1j * turn))


def _propose_from_neighbours(found: Correspondences) -> FloatRows:
    """Return similarities through every trusted match and each of its nearest neighbours in the query."""
    x, y = (points[:, 0] + 1j * points[:, 1] for points in (found.x[:_SEEDS], found.y[:_SEEDS]))
    apart = np.abs(x[:, None] - x)
    np.fill_diagonal(apart, np.inf)
    others = np.argsort(apart, axis=1, kind="stable")[:, : min(_NEIGHBOURS, max(len(x) - 1, 0))]
    ones = np.repeat(np.arange(len(x)), others.shape[1])
    arms_x, arms_y = x[others.ravel()] - x[ones], y[others.ravel()] - y[ones]
    usable = np.abs(arms_x) > 0
    ones, factors = ones[usable], arms_y[usable] / arms_x[usable]
    return _through_points(found.x[ones], found.y[ones], factors)


def _through_points(x: FloatRows, y: FloatRows, factors: NDArray[np.complex128]) -> FloatRows:
    """Return (S, 4) similarities that take each x to its y with the given complex factor."""
    shifts = (y[:, 0] + 1j * y[:, 1]) - factors * (x[:, 0] + 1j * x[:, 1])
    return np.column_stack([factors.real, factors.imag, shifts.real, shifts.imag])


def _similarity(parameters: FloatRows, nats: FloatRows) -> Model:
    a, b, c, d = parameters
    return Model("homography", np.array([[a, -b, c], [b, a, d], [0.0, 0.0, 1.0]]), nats, SIMILARITY_PARAMETERS)


def _fit(found: Correspondences, rows: NDArray[np.int64], n_parameters: int) -> tuple[Model, Residuals] | None:
    matrix = (_fit_affinity if n_parameters == AFFINE_PARAMETERS else _fit_homography)(found, rows)
    if matrix is None:
        return None
    residuals = measure_homography(found, matrix)
    return Model("homography", matrix, residuals.weigh(), n_parameters), residuals


def _fit_affinity(found: Correspondences, rows: NDArray[np.int64]) -> FloatRows | None:
    """Fit by least squares, every inlier by its trust."""
    if len(rows) < 4:
        return None
    weights = np.sqrt(found.trusts[rows])[:, None]
    design = np.column_stack([found.x[rows], np.ones(len(rows))])
    solution, _, rank, _ = np.linalg.lstsq(design * weights, found.y[rows] * weights, rcond=1e-6)
    return np.vstack([solution.T, [0.0, 0.0, 1.0]]) if rank == 3 else None


def _fit_homography(found: Correspondences, rows: NDArray[np.int64]) -> FloatRows | None:
    import cv2

    if len(rows) < 6:
        return None
    matrix, _ = cv2.findHomography(found.x[rows] * _PIXELS, found.y[rows] * _PIXELS, 0)
    if matrix is None or not np.isfinite(matrix).all():
        return None
    return np.asarray(_to_pixels(-1) @ matrix @ _to_pixels(1))


def _to_pixels(power: int) -> FloatRows:
    return np.diag([_PIXELS**power, _PIXELS**power, 1.0])


def _sampled(estimate: Callable[..., Any], found: Correspondences, *, fewest: int, seed: int) -> FloatRows | None:
    """Return what OpenCV's USAC finds among the trusted matches; None where that is nothing."""
    import cv2

    n = min(_USAC_MATCHES, int((found.trusts > _USAC_TRUST).sum()))
    if n < fewest:
        return None
    x, y = ((points[:n] * _PIXELS).astype(np.float32) for points in (found.x, found.y))
    try:
        matrix, _ = estimate(x, y, _usac(found, seed))
    except cv2.error:  # some versions raise instead of giving up when no sample fits a model
        return None
    return matrix if matrix is not None and matrix.shape == (3, 3) and np.isfinite(matrix).all() else None


def _usac(found: Correspondences, seed: int) -> Any:
    import cv2

    parameters = cv2.UsacParams()
    parameters.threshold = _USAC_SIGMAS * found.sigma * _PIXELS
    parameters.confidence = 0.999
    parameters.maxIterations = 3000
    parameters.isParallel = False
    parameters.randomGeneratorState = seed
    parameters.score = cv2.SCORE_METHOD_MAGSAC
    parameters.sampler = cv2.SAMPLING_PROSAC
    parameters.loMethod = cv2.LOCAL_OPTIM_SIGMA
    parameters.loIterations = 10
    parameters.loSampleSize = 30
    return parameters
