"""Batches of photos of one shape: every photo has a group by its aspect ratio, and a batch is drawn from one group.

Source: group-size sampling of Yokoo et al., Two-stage discriminative re-ranking (2020); the ratios and shapes are those
of their public code. Ours: a group with fewer photos than a batch joins its neighbour, and the last batch of a group is
filled up with other photos of the group, so that no photo is left out and every batch has one size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError

IndexArray: TypeAlias = NDArray[np.int64]
Size: TypeAlias = tuple[int, int]

# Height over width at which a photo goes to the next group, and the groups' widths and heights where a square is 448.
_RATIOS = (0.67, 0.77, 1.33, 1.5)
_SHAPES = ((512, 352), (512, 384), (448, 448), (384, 512), (352, 512))
_SQUARE = 448
_GRID_PX = 16
_LEAST_PX = 64


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold the rows of one batch and the width and height that its photos get."""

    rows: IndexArray
    size_px: Size


def group_sizes(size_px: int, kind: str) -> tuple[Size, ...]:
    """Return the width and height of each group, multiples of 16.

    Args:
        size_px: side of the square group.
        kind: ``aspect`` for five groups from wide to tall, ``square`` for one.
    """
    if kind == "square":
        return ((_to_grid(size_px), _to_grid(size_px)),)
    factor = size_px / _SQUARE
    return tuple((_to_grid(width * factor), _to_grid(height * factor)) for width, height in _SHAPES)


def find_group(width: int, height: int, *, kind: str) -> int:
    """Return the group of a photo of that size."""
    return 0 if kind == "square" else int(np.searchsorted(_RATIOS, height / width, side="right"))


def merge_small(groups: IndexArray, *, batch: int) -> IndexArray:
    """Move the photos of groups with fewer photos than a batch to the nearest group that has enough.

    Args:
        groups: (N,) the group of each photo.

    Returns:
        (N,) groups; all photos share the fullest group where none has enough.
    """
    counts = np.bincount(groups)
    enough = np.flatnonzero(counts >= batch)
    if not len(enough):
        return np.full_like(groups, counts.argmax())
    nearest = enough[np.abs(np.arange(len(counts))[:, None] - enough).argmin(axis=1)]
    return np.asarray(nearest[groups], dtype=np.int64)


def count_batches(groups: IndexArray, *, batch: int) -> int:
    """Return the number of batches of an epoch."""
    counts = np.bincount(groups)
    return int(np.ceil(counts / batch).sum())


def plan_epoch(groups: IndexArray, *, sizes: Sequence[Size], batch: int, seed: int, epoch: int) -> list[Batch]:
    """Cut an epoch into full batches of one group each, in random order.

    Args:
        groups: (N,) the group of each photo, small ones merged.
        sizes: width and height by group.
        seed: of the training; a plan depends on it and the epoch alone.

    Returns:
        Batches in which every photo stands once, but for less than a batch a group that stands in two of them: the last
        batch of a group is filled up with photos that it does not hold yet, where there are enough of them.

    Raises:
        DataError: there are no photos.
    """
    if not len(groups):
        raise DataError("there are no photos to train on; landmarks with at least one readable photo are needed")
    rng = np.random.default_rng([seed, epoch])
    batches = [
        Batch(rows, sizes[group])
        for group in np.unique(groups)
        for rows in _cut(rng.permutation(np.flatnonzero(groups == group)), batch)
    ]
    return [batches[place] for place in rng.permutation(len(batches))]


def _cut(rows: IndexArray, batch: int) -> list[IndexArray]:
    """Cut shuffled rows into full batches, the last filled up from the beginning."""
    n_batches = -(-len(rows) // batch)
    whole = np.resize(rows, n_batches * batch)
    return [whole[start : start + batch] for start in range(0, len(whole), batch)]


def _to_grid(side_px: float) -> int:
    return max(round(side_px / _GRID_PX) * _GRID_PX, _LEAST_PX)
