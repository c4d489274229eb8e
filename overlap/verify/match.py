"""Local features of two photos -> matches, each with the trust that its looks alone deserve."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.tables import FloatArray, LocalFeatures
from overlap.verify.presets import Preset

FloatRows: TypeAlias = NDArray[np.float64]
# Gives (P, 2) int32 rows of query and photo features and (P,) float32 confidences in [0, 1].
MatchPair: TypeAlias = Callable[[LocalFeatures, LocalFeatures], tuple[NDArray[np.int32], FloatArray]]
PhotoPair: TypeAlias = tuple[LocalFeatures, LocalFeatures]
# Of two photos' descriptors (M, D) and (K, D): the (M,) int64 nearest rows of the second, the first among equals, and
# the (M, 2) and (K, 2) float32 best and second-best cosine of every row of the first and of the second.
Nearest: TypeAlias = tuple[NDArray[np.int64], FloatArray, FloatArray]
FindNearest: TypeAlias = Callable[[Sequence[tuple[FloatArray, FloatArray]]], list[Nearest]]

MOST_TRUST = 0.6
_MOST_MATCHES = 400
_CELLS = 300
_NO_PAIRS = np.zeros((0, 2), np.int32)


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
    """Match two photos, as match_batch does many."""
    return match_batch([(query, photo)], preset=preset, match=match)[0]


def match_batch(
    batch: Sequence[PhotoPair],
    *,
    preset: Preset,
    match: MatchPair | None = None,
    find_nearest: FindNearest | None = None,
) -> list[Matches]:
    """Match the photos of every pair, drop what collapses onto few points, and keep the most trusted matches.

    Args:
        match: a learned matcher; without it mutual nearest neighbours.
        find_nearest: finds the nearest neighbours of many pairs at once, on a GPU; without it one pair after another.
    """
    if match is not None:
        found = [match(query, photo) for query, photo in batch]
        trusted = [(pairs, MOST_TRUST * np.clip(np.asarray(sure, np.float64), 0, 1)) for pairs, sure in found]
    else:
        descriptors = [(query.descriptors, photo.descriptors) for query, photo in batch]
        mutual = (
            match_at_once(descriptors, find_nearest) if find_nearest else [match_mutual(*one) for one in descriptors]
        )
        trusted = [(pairs, trust_of_ratio(ratios, preset)) for pairs, ratios in mutual]
    return [_thin(*photos, *one) for photos, one in zip(batch, trusted, strict=True)]


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
        return _NO_PAIRS, np.zeros(0)
    cosines = query @ photo.T
    nearest = cosines.argmax(axis=1)
    rows, columns = _pair_up(nearest, cosines[np.arange(len(query)), nearest], cosines.max(axis=0))
    best = cosines[rows, columns]
    cosines[rows, columns] = -np.inf
    second = np.maximum(cosines[rows].max(axis=1), cosines.max(axis=0)[columns])
    return np.stack([rows, columns], axis=1).astype(np.int32), _ratios(best, second)


def match_at_once(
    descriptors: Sequence[tuple[FloatArray, FloatArray]], find_nearest: FindNearest
) -> list[tuple[NDArray[np.int32], FloatRows]]:
    """Return for every pair what match_mutual returns: on the grid of stored descriptors every cosine is exact."""
    asked = [place for place, (query, photo) in enumerate(descriptors) if min(len(query), len(photo)) >= 2]
    found = [(_NO_PAIRS, np.zeros(0))] * len(descriptors)
    answers = find_nearest([descriptors[place] for place in asked]) if asked else []
    for place, (nearest, of_query, of_photo) in zip(asked, answers, strict=True):
        rows, columns = _pair_up(nearest, of_query[:, 0], of_photo[:, 0])
        ratios = _ratios(of_query[rows, 0], np.maximum(of_query[rows, 1], of_photo[columns, 1]))
        found[place] = (np.stack([rows, columns], axis=1).astype(np.int32), ratios)
    return found


def trust_of_ratio(ratios: FloatRows, preset: Preset) -> FloatRows:
    """Return the probability that a match of a given ratio is right: at most 0.6, falling as a logistic."""
    trusts: FloatRows = MOST_TRUST / (1 + np.exp((ratios - preset.even_ratio) / preset.ratio_width))
    return trusts


def _pair_up(
    nearest: NDArray[np.int64], of_query: FloatArray, of_photo: FloatArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return rows and columns that are each other's nearest, by row; the first row wins a tie."""
    rows = np.flatnonzero(of_query >= of_photo[nearest])
    rows = rows[np.sort(np.unique(nearest[rows], return_index=True)[1])]
    return rows, nearest[rows]


def _ratios(best: FloatArray, second: FloatArray) -> FloatRows:
    return np.minimum(_distance(best) / np.maximum(_distance(second), 1e-6), 1.0)


def _distance(cosines: FloatArray) -> FloatRows:
    # Rounded descriptors are not quite unit rows: a product may pass 1.
    return np.asarray(np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0)))


def _thin(query: LocalFeatures, photo: LocalFeatures, pairs: NDArray[np.int32], trusts: FloatRows) -> Matches:
    positions = (query.xy_px[pairs[:, 0]], photo.xy_px[pairs[:, 1]])
    order = np.lexsort((*positions[1].T, *positions[0].T, -trusts))
    kept = order[_spread_out(positions, order, query.size_px, photo.size_px)][:_MOST_MATCHES]
    return Matches(pairs[kept].astype(np.int32), trusts[kept])


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
