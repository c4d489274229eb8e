"""What a model brings together that no match said: evidence from the features around the inliers.

Two buildings can share a portico, or a row of windows, whose points agree by the dozen. If the photos show the same
building, the rest agrees too: features that were matched wrongly, or not at all, lie on features like them. So the
homography carries every unused feature over, and the pairs that it brings together are compared with pairs from the
same two photos that it doesn't: those it would bring together if it were shifted a little to each side.
"""

import numpy as np
from numpy.typing import NDArray

from overlap.base.tables import LocalFeatures
from overlap.verify.evidence import centre, project
from overlap.verify.match import FloatRows

_NEAR_SIGMAS = 2.0
_SHIFT_SIGMAS = 15.0
_SIDES = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0))
_CHANCE = 0.05
_FEWEST = 40


def weigh_surroundings(
    query: LocalFeatures, photo: LocalFeatures, matrix: FloatRows, *, used: NDArray[np.int64], sigma: float
) -> float:
    """Return the nats by which unused features agree with a homography better than with its shifted copies.

    A pair that is brought together counts as alike if its cosine is above that of 19 in 20 pairs of the shifted copies.
    With n pairs, a share s of them alike, the nats are n (s log(s / 0.05) + (1 - s) log((1 - s) / 0.95)), the
    log-likelihood ratio of that share against chance; 0 where s is no more than 0.05, and where the shifted copies
    bring under 40 pairs together.

    Args:
        matrix: (3, 3), query to photo, in the coordinates of Correspondences.
        used: (I,) rows of the query's features that the model rests on already.
        sigma: see Correspondences.
    """
    x, y = (centre(one.xy_px, one.size_px) for one in (query, photo))
    rows, images = _carry_over(x, matrix, photo.size_px, used)
    here = _cosines(query, photo, rows, images, y, sigma)
    shifts = [np.array(side) * _SHIFT_SIGMAS * sigma for side in _SIDES]
    beside = np.concatenate([_cosines(query, photo, rows, images + shift, y, sigma) for shift in shifts])
    if not len(here) or len(beside) < _FEWEST:
        return 0.0
    return _nats(float((here > np.quantile(beside, 1 - _CHANCE)).mean()), len(here))


def _carry_over(
    x: FloatRows, matrix: FloatRows, size_px: tuple[int, int], used: NDArray[np.int64]
) -> tuple[NDArray[np.int64], FloatRows]:
    """Return the rows of unused features that land inside the photo, and where."""
    images, depths = project(matrix, x)
    edges = np.array(size_px) / np.hypot(*size_px) / 2
    inside = (depths * np.sign(matrix[2, 2]) > 0) & (np.abs(images) < edges).all(axis=1)
    inside[used] = False
    rows = np.flatnonzero(inside)
    return rows, images[rows]


def _cosines(
    query: LocalFeatures, photo: LocalFeatures, rows: NDArray[np.int64], images: FloatRows, y: FloatRows, sigma: float
) -> FloatRows:
    """Return the cosine of each feature with the nearest one of the photo, if near; every photo feature counts once."""
    from scipy.spatial import cKDTree

    found = cKDTree(y).query(images, distance_upper_bound=_NEAR_SIGMAS * sigma)
    apart, nearest = np.asarray(found[0], np.float64), np.asarray(found[1], np.int64)
    near = np.flatnonzero(np.isfinite(apart))
    near = near[np.lexsort((rows[near], apart[near]))]
    near = near[np.unique(nearest[near], return_index=True)[1]]
    cosines = np.einsum("pd,pd->p", query.descriptors[rows[near]], photo.descriptors[nearest[near]])
    return np.asarray(cosines, np.float64)


def _nats(share: float, n: int) -> float:
    from scipy.special import xlogy

    if share <= _CHANCE:
        return 0.0
    return float(n * (xlogy(share, share / _CHANCE) + xlogy(1 - share, (1 - share) / (1 - _CHANCE))))
