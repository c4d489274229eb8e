"""Local features of two photos -> matches, each with the trust that its looks alone deserve."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.tables import FloatArray, LocalFeatures
from overlap.verify.presets import Preset

FloatRows: TypeAlias = NDArray[np.float64]
# Gives (P, 2) int32 rows of query and photo features and (P,) float32 confidences in [0, 1].
MatchPair: TypeAlias = Callable[[LocalFeatures, LocalFeatures], tuple[NDArray[np.int32], FloatArray]]

MOST_TRUST = 0.6
_MOST_MATCHES = 400
_CELLS = 300


@dataclass(frozen=True)
class Matches:
    """Hold matches, most trusted first.

    Args:
        pairs: (P, 2) int32 rows of the query's and the photo's features; no row occurs twice.
        trusts: (P,) float64 probabilities in (0, 1) that a match is right, before any geometry.
    """

    pairs: NDArray[np.int32]
    trusts: FloatRows


def match_features(
    query: LocalFeatures, photo: LocalFeatures, *, preset: Preset, match: MatchPair | None = None
) -> Matches:
    """Match two photos, drop what collapses onto few points, and keep the most trusted matches.

    Args:
        match: a learned matcher; without it mutual nearest neighbours.
    """
    if match is None:
        pairs, ratios = match_mutual(query.descriptors, photo.descriptors)
        trusts = trust_of_ratio(ratios, preset)
    else:
        pairs, confidences = match(query, photo)
        trusts = MOST_TRUST * np.clip(np.asarray(confidences, np.float64), 0, 1)
    positions = (query.xy_px[pairs[:, 0]], photo.xy_px[pairs[:, 1]])
    order = np.lexsort((*positions[1].T, *positions[0].T, -trusts))
    kept = order[_spread_out(positions, order, query.size_px, photo.size_px)][:_MOST_MATCHES]
    return Matches(pairs[kept].astype(np.int32), trusts[kept])


def match_mutual(query: FloatArray, photo: FloatArray) -> tuple[NDArray[np.int32], FloatRows]:
    """Return mutual nearest neighbours and their distance ratios.

    Args:
        query: (M, D) unit rows.
        photo: (K, D) unit rows.

    Returns:
        (P, 2) int32 rows, by the query's row, and (P,) ratios in [0, 1]: the distance over the distance to the next
        best, the larger of both directions. The first row wins a tie. Empty where either photo has under two features.
    """
    if len(query) < 2 or len(photo) < 2:
        return np.zeros((0, 2), np.int32), np.zeros(0)
    cosines = query @ photo.T
    nearest = cosines.argmax(axis=1)
    rows = np.flatnonzero(cosines[np.arange(len(query)), nearest] >= cosines.max(axis=0)[nearest])
    rows = rows[np.sort(np.unique(nearest[rows], return_index=True)[1])]
    columns = nearest[rows]
    best = cosines[rows, columns]
    cosines[rows, columns] = -np.inf
    second = np.maximum(cosines[rows].max(axis=1), cosines.max(axis=0)[columns])
    ratios = _distance(best) / np.maximum(_distance(second), 1e-6)
    return np.stack([rows, columns], axis=1).astype(np.int32), np.minimum(ratios, 1.0)


def trust_of_ratio(ratios: FloatRows, preset: Preset) -> FloatRows:
    """Return the probability that a match of a given ratio is right: at most 0.6, falling as a logistic."""
    trusts: FloatRows = MOST_TRUST / (1 + np.exp((ratios - preset.even_ratio) / preset.ratio_width))
    return trusts


def _distance(cosines: FloatArray) -> FloatRows:
    # Rounded descriptors are not quite unit rows: a product may pass 1.
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0)))


def _spread_out(
    positions: tuple[FloatArray, FloatArray],
    order: NDArray[np.int64],
    *sizes_px: tuple[int, int],
) -> NDArray[np.int64]:
    """Return the places in ``order`` of matches that are the first in their small cell of both photos."""
    kept = np.arange(len(order))
    for xy, size_px in zip(positions, sizes_px, strict=True):
        cells = np.floor(xy[order[kept]] * (_CELLS / np.hypot(*size_px))).astype(np.int64)
        numbers = cells[:, 0] * (_CELLS + 1) + cells[:, 1]  # no side is longer than the diagonal
        kept = kept[np.sort(np.unique(numbers, return_index=True)[1])]
    return kept
