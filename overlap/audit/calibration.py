"""From a pair's score to the chance that both photos show the same landmark.

The chance is the isotonic regression of what is known (same or not) on the score: it grows with the score and assumes
nothing else. Known are the pairs that people judged, and the pairs of negative controls. It holds for pairs like those:
people see pairs from the review threshold on, so below that the controls alone speak.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError

_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Hold the chance at some scores, ascending; in between it is interpolated, outside it is that of the end."""

    scores: tuple[float, ...]
    chances: tuple[float, ...]

    def chance_of(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the chance (P,) that pairs of these scores (P,) show the same landmark."""
        chances: NDArray[np.float64] = np.interp(scores, self.scores, self.chances)
        return chances


@dataclass(frozen=True)
class Reliability:
    """Hold how good chances are on landmarks they were not fitted on.

    Args:
        brier: mean squared difference of chance and truth; 0 is perfect.
        brier_of_share: the same when every pair gets the share of same pairs.
        bins: of equally many pairs each, (mean chance, share that is same, pairs), by chance.
    """

    n_pairs: int
    n_landmarks: int
    brier: float
    brier_of_share: float
    bins: tuple[tuple[float, float, int], ...]


def fit_chance(scores: NDArray[np.floating], same: NDArray[np.bool_]) -> Calibration:
    """Fit the chance.

    Args:
        scores: (P,) scores of pairs whose truth is known.
        same: (P,) whether they show the same landmark.

    Raises:
        DataError: all pairs are same, or none is.
    """
    from scipy.optimize import isotonic_regression

    if not len(same) or same.all() or not same.any():
        raise DataError(
            f"{int(same.sum())} of {len(same)} judged pairs are same; a chance needs both same and different ones: "
            "let people judge more pairs, or list landmarks known to be elsewhere in audit.elsewhere"
        )
    values, places = np.unique(np.asarray(scores, np.float64), return_inverse=True)
    counts = np.bincount(places)
    fitted = isotonic_regression(np.bincount(places, weights=same) / counts, weights=counts).x
    return Calibration(tuple(values.tolist()), tuple(np.clip(fitted, 0, 1).tolist()))


def validate_chance(
    scores: NDArray[np.floating], same: NDArray[np.bool_], landmark_ids: NDArray[np.int64], *, folds: int = 5
) -> Reliability:
    """Fit on some landmarks and look at the others, in turn; pairs of one landmark are never on both sides.

    Args:
        landmark_ids: (P,) landmark of each pair.

    Raises:
        DataError: a fold lacks same or different pairs.
    """
    ids, places = np.unique(landmark_ids, return_inverse=True)
    fold_of = np.random.default_rng(0).permutation(len(ids))[places] % folds
    chances = np.empty(len(same))
    for fold in np.unique(fold_of):
        inside = fold_of == fold
        chances[inside] = fit_chance(scores[~inside], same[~inside]).chance_of(scores[inside])
    order = np.argsort(chances, kind="stable")
    parts = [part for part in np.array_split(order, _BINS) if len(part)]
    return Reliability(
        len(same),
        len(ids),
        float(((chances - same) ** 2).mean()),
        float(((same.mean() - same) ** 2).mean()),
        tuple((float(chances[part].mean()), float(same[part].mean()), len(part)) for part in parts),
    )
