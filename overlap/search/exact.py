"""Exact search by inner product, streamed over shards of descriptors.

A fast float32 product finds which photos can be among the best; their similarities are then computed again, each from
its two vectors alone and in one order, and the ranking goes by those. So the result doesn't depend on how the photos
are cut into shards and blocks, on their order, or on the number of threads.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from overlap.errors import DataError
from overlap.tables import Descriptors, FloatArray

Product = Callable[[FloatArray, FloatArray], FloatArray]

BLOCK = 20_000
_QUERY_BLOCK = 1024
_RESCORE_ROWS = 2048


@dataclass(frozen=True)
class Neighbours:
    """Hold the best photos of every query, best first; equal similarities stand in the order of their ids.

    Args:
        image_ids: Q lists of at most K ids.
        similarities: (Q, K) float32 inner products; NaN where a list is shorter than K.
    """

    image_ids: list[list[str]]
    similarities: FloatArray


@dataclass
class _Best:
    """Collect the best photos of one query."""

    k: int
    found: list[tuple[float, str]] = field(default_factory=list)

    @property
    def bar(self) -> float:
        """Return what a similarity must reach to matter."""
        return -self.found[-1][0] if len(self.found) == self.k else -np.inf

    def add(self, similarities: FloatArray, image_ids: Iterable[str]) -> None:
        """Merge photos; the order in which they come doesn't matter."""
        offered = zip((-similarities).tolist(), image_ids, strict=True)
        self.found = sorted([*self.found, *offered])[: self.k]


def search_exact(
    queries: Descriptors,
    shards: Iterable[Descriptors],
    *,
    k: int,
    block: int = BLOCK,
    product: Product | None = None,
) -> Neighbours:
    """Find the k photos of highest inner product for every query.

    Memory is bounded by the block: ``block`` rows in float32, and ``block`` similarities for 1024 queries.

    Args:
        queries: Q queries.
        shards: the photos, in any cut and order; a shard's vectors may be memory-mapped.
        k: how many photos a query gets at most; all of them where there are fewer.
        block: rows that are held in float32 at a time.
        product: computes the (Q, B) inner products of (Q, D) and (B, D) float32 rows, on a GPU for example. It must be
            as exact as float32 arithmetic is (TF32 is not); numpy's by default.

    Returns:
        Neighbours with K = min(k, N); without photos, empty lists and similarities of shape (Q, 0).

    Raises:
        DataError: vectors differ in size, are not finite, or don't match their ids in number.
    """
    product = product or _multiply
    probes = _as_float32(queries, size=None, name="the queries")
    best = [_Best(k) for _ in queries.image_ids]
    for photos in _cut(shards, block=block):
        rows = _as_float32(photos, size=probes.shape[1] if len(probes) else None, name="a shard")
        for start in range(0, len(probes), _QUERY_BLOCK):
            stop = start + _QUERY_BLOCK
            _search_block(probes[start:stop], rows, photos.image_ids, best[start:stop], product=product)
    return as_neighbours([query.found for query in best])


def score_rows(query: FloatArray, rows: NDArray[np.floating]) -> FloatArray:
    """Return the inner products of one query (D,) with rows (M, D), each a function of its two vectors alone.

    A matrix product is not: its sums run in an order that changes with the matrices' shapes and the threads.
    """
    similarities = np.empty(len(rows), dtype=np.float32)
    wide = query.astype(np.float64)
    for start in range(0, len(rows), _RESCORE_ROWS):
        part = np.ascontiguousarray(rows[start : start + _RESCORE_ROWS], dtype=np.float64)
        similarities[start : start + _RESCORE_ROWS] = (part * wide).sum(axis=1)
    return similarities


def as_neighbours(found: list[list[tuple[float, str]]]) -> Neighbours:
    """Build Neighbours from Q sorted lists of (negative similarity, id)."""
    similarities = np.full((len(found), max(map(len, found), default=0)), np.nan, dtype=np.float32)
    for row, pairs in enumerate(found):
        similarities[row, : len(pairs)] = [-negative for negative, _ in pairs]
    return Neighbours([[image_id for _, image_id in pairs] for pairs in found], similarities)


def _search_block(
    probes: FloatArray, rows: FloatArray, image_ids: list[str], best: list[_Best], *, product: Product
) -> None:
    """Offer every photo of a block that can be among the best to the queries' collections."""
    rough = product(probes, rows)
    slack = _bound_error(probes, rows)
    for number, query in enumerate(best):
        bar = max(query.bar, _kth_best(rough[number], query.k) - slack)
        near = np.flatnonzero(rough[number] >= bar - slack)
        if len(near):
            query.add(score_rows(probes[number], rows[near]), [image_ids[row] for row in near])


def _kth_best(similarities: FloatArray, k: int) -> float:
    if len(similarities) <= k:
        return -np.inf
    return float(np.partition(similarities, len(similarities) - k)[len(similarities) - k])


def _bound_error(probes: FloatArray, rows: FloatArray) -> float:
    """Return how far a float32 inner product can be from the true one, in any order of its sums, with room.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: D u |x| |y|, u = 2^-24.
    """
    longest = np.linalg.norm(probes, axis=1).max(initial=0) * np.linalg.norm(rows, axis=1).max(initial=0)
    return float((probes.shape[1] + 4) * 2.0**-23 * longest)


def _cut(shards: Iterable[Descriptors], *, block: int) -> Iterator[Descriptors]:
    for shard in shards:
        if len(shard.image_ids) != len(shard.vectors):
            raise DataError(
                f"a shard has {len(shard.image_ids)} ids for {len(shard.vectors)} descriptors; delete it and run the "
                "step descriptors again"
            )
        for start in range(0, len(shard.image_ids), block):
            stop = start + block
            yield Descriptors(shard.image_ids[start:stop], shard.vectors[start:stop])


def _as_float32(descriptors: Descriptors, *, size: int | None, name: str) -> FloatArray:
    vectors = np.array(descriptors.vectors, dtype=np.float32)
    if size is not None and vectors.shape[1:] != (size,):
        raise DataError(
            f"{name} has descriptors of shape {vectors.shape}, the queries of {size} numbers; describe both with the "
            "same network and settings"
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DataError(f"{name}: the descriptor of {descriptors.image_ids[row]} holds infinite or undefined numbers")
    return vectors


def _multiply(probes: FloatArray, rows: FloatArray) -> FloatArray:
    return probes @ rows.T
