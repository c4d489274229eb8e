"""The rank that a photo has, or would have, among all photos: how many are more similar to the query."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from overlap.base.tables import Descriptors
from overlap.search.rows import BLOCK

# A photo is not above itself: the same sum in another order differs by less.
_MARGIN = 1e-9


def count_above(
    probes: Sequence[NDArray[np.floating]],
    similarities: Sequence[NDArray[np.float64]],
    shards: Sequence[Descriptors],
    *,
    block: int = BLOCK,
) -> list[NDArray[np.int64]]:
    """Count the photos whose inner product with a probe is above given ones.

    Args:
        probes: Q times (D,).
        similarities: for each probe the (P,) inner products, computed in float64, that are ranked; P may differ.
        shards: the photos; vectors may be memory-mapped.
        block: rows that are held in float64 at a time.

    Returns:
        For each probe (P,) ranks from 0.
    """
    above = [np.zeros(len(own), np.int64) for own in similarities]
    if not len(probes):
        return above
    wide = np.array(probes, np.float64)
    for shard in shards:
        for start in range(0, len(shard.image_ids), block):
            products = wide @ np.asarray(shard.vectors[start : start + block], np.float64).T
            for counted, own, row in zip(above, similarities, np.sort(products, axis=1), strict=True):
                counted += len(row) - np.searchsorted(row, own + _MARGIN, side="right")
    return above
