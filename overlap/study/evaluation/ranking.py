"""Where photos stand in a ranking by similarity, without sorting a million distractors."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError
from overlap.base.tables import Descriptors
from overlap.study.evaluation.protocol import IndexArray

BLOCK = 8192
# Between these, no sum of products overflows, and none vanishes.
_LEAST, _MOST = 1e-140, 1e140


def find_places(
    queries: Descriptors,
    database: Descriptors,
    judged: Sequence[IndexArray],
    *,
    distractors: Iterable[Descriptors] = (),
    block: int = BLOCK,
) -> list[IndexArray]:
    """Find the places, from 0, of some photos in each query's ranking of the database and all distractors.

    Photos are ranked by inner product in float64, descending; equal ones by their row, and distractors stand after the
    database, as if they were appended to it. Products that could be those of a judged photo are summed once more, in an
    order that depends on nothing but D, so that copies of a photo tie wherever they stand. Memory: Q x N numbers for
    the database, and ``block`` rows of distractors at a time.

    Args:
        queries: Q queries.
        database: N photos.
        judged: for each query, the database rows whose places are asked for.
        distractors: shards, in any cut; each may be memory-mapped.

    Returns:
        For each query, the places of its ``judged`` rows, in their order.

    Raises:
        DataError: descriptors differ in size, don't match their ids in number, hold undefined numbers, or are so large
            or small that their products overflow or vanish.
    """
    probes = _as_float64(queries, size=None, name="the queries")
    size = probes.shape[1]
    _check_shape(database, size=size, name="the database")
    named = [_as_float64(_take(database, rows), size=size, name="the database") for rows in judged]
    bars = [_sum_products(probe, rows) for probe, rows in zip(probes, named, strict=True)]
    blocks = _cut([database], size=size, block=block, name="the database")
    similarities = np.concatenate(
        [_multiply(probes, rows, bars) for rows in blocks] or [np.empty((len(probes), 0))], axis=1
    )
    ahead = [_places(row)[rows] for row, rows in zip(similarities, judged, strict=True)]
    for rows in _cut(distractors, size=size, block=block, name="the distractors"):
        products = _multiply(probes, rows, bars)
        ahead = [places + _count_above(row, bar) for places, row, bar in zip(ahead, products, bars, strict=True)]
    return ahead


def _places(similarities: NDArray[np.float64]) -> IndexArray:
    places = np.empty(len(similarities), dtype=np.int64)
    places[np.argsort(-similarities, kind="stable")] = np.arange(len(similarities))
    return places


def _count_above(similarities: NDArray[np.float64], bars: NDArray[np.float64]) -> IndexArray:
    """Count, for each bar, the similarities that are greater."""
    order = np.argsort(bars)
    passed = np.searchsorted(bars[order], similarities)  # how many bars each similarity is above
    above = np.bincount(passed, minlength=len(bars) + 1)[::-1].cumsum()[::-1]
    counts = np.empty(len(bars), dtype=np.int64)
    counts[order] = above[1:]
    return counts


def _multiply(
    probes: NDArray[np.float64], rows: NDArray[np.float64], bars: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return the (Q, N) inner products; those that rounding could move past a query's bar are summed once more."""
    products: NDArray[np.float64] = probes @ rows.T
    rounding = 4 * probes.shape[1] * np.finfo(np.float64).eps
    reach = rounding * np.linalg.norm(rows, axis=1)
    for probe, product, bar in zip(probes, products, bars, strict=True):
        near = np.flatnonzero(_distance(product, np.sort(bar)) <= reach * np.linalg.norm(probe))
        product[near] = _sum_products(probe, rows[near])
    return products


def _distance(products: NDArray[np.float64], bars: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each product is from the nearest bar; ``bars`` ascend."""
    ends = np.concatenate([[-np.inf], bars, [np.inf]])
    above = np.searchsorted(ends, products).clip(1, len(ends) - 1)
    distance: NDArray[np.float64] = np.minimum(products - ends[above - 1], ends[above] - products)
    return distance


def _sum_products(probe: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return inner products as sums in one order, which a matrix product has not."""
    sums: NDArray[np.float64] = (rows * probe).sum(axis=1)
    return sums


def _cut(shards: Iterable[Descriptors], *, size: int, block: int, name: str) -> Iterator[NDArray[np.float64]]:
    for shard in shards:
        for start in range(0, len(shard.vectors), block):
            part = Descriptors(shard.image_ids[start : start + block], shard.vectors[start : start + block])
            yield _as_float64(part, size=size, name=name)


def _take(descriptors: Descriptors, rows: IndexArray) -> Descriptors:
    return Descriptors([descriptors.image_ids[row] for row in rows], descriptors.vectors[rows])


def _check_shape(descriptors: Descriptors, *, size: int | None, name: str) -> None:
    shape = np.shape(descriptors.vectors)
    if len(shape) != 2 or shape[0] != len(descriptors.image_ids):
        raise DataError(
            f"{name}: descriptors of shape {shape} for {len(descriptors.image_ids)} ids; expected a row an id"
        )
    if size is not None and shape[1] != size:
        raise DataError(
            f"{name}: descriptors of {shape[1]} numbers, the queries' have {size}; describe both with the same "
            "network and settings"
        )


def _as_float64(descriptors: Descriptors, *, size: int | None, name: str) -> NDArray[np.float64]:
    _check_shape(descriptors, size=size, name=name)
    vectors = np.asarray(descriptors.vectors, dtype=np.float64)
    undefined = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(undefined):
        raise DataError(f"{name}: the descriptor of {descriptors.image_ids[undefined[0]]} holds undefined numbers")
    largest = np.abs(vectors).max(axis=1, initial=0)
    wrong = np.flatnonzero((largest > _MOST) | ((largest < _LEAST) & (largest > 0)))
    if len(wrong):
        raise DataError(
            f"{name}: the largest number of the descriptor of {descriptors.image_ids[wrong[0]]} is "
            f"{largest[wrong[0]]:.3g}, too far from 1 for products in float64; scale all descriptors by one factor"
        )
    return vectors
