"""Exact search by inner product, streamed over shards of descriptors.

A fast float32 product finds which photos can be among the best; their similarities are then computed again, each from
its two vectors alone and in one order, and the ranking goes by those. So the result doesn't depend on how the photos
are cut into shards and blocks, on their order, or on the number of threads.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from overlap.base.tables import Descriptors, FloatArray
from overlap.base.threads import map_ahead
from overlap.base.workers import count_cores
from overlap.search.near import Near
from overlap.search.rows import BLOCK, Rows, cut_blocks, cut_rows, measure_longest, read_block, read_rows

Product = Callable[[FloatArray, Sequence[FloatArray]], Iterator[FloatArray]]

_QUERY_BLOCK = 4096
# So few pairs of 2,048 numbers in double precision stay in a core's cache.
_SCORED = 32


@dataclass(frozen=True)
class Neighbours:
    """Hold the best photos of every query, best first; equal similarities stand in the order of their ids.

    Args:
        image_ids: Q lists of at most K ids.
        similarities: (Q, K) float32 inner products; NaN where a list is shorter than K.
    """

    image_ids: list[list[str]]
    similarities: FloatArray


def search_exact(
    queries: Descriptors,
    shards: Sequence[Descriptors],
    *,
    k: int,
    block: int = BLOCK,
    product: Product | None = None,
    progress: Callable[[int], None] = lambda more: None,
) -> Neighbours:
    """Find the k photos of highest inner product for every query.

    The photos are read once from front to back, and those that can be among the best once more. Each core takes a block
    of them at a time, in one thread. Memory is bounded by ``block`` rows in float32 and their similarities with 4096
    queries for each core, and some 4 k numbers a query.

    Args:
        queries: Q queries.
        shards: the photos, in any cut and order; a shard's vectors may be memory-mapped.
        k: how many photos a query gets at most; all of them where there are fewer.
        block: rows that a core holds in float32 at a time.
        product: yields the (B, Q) inner products of (B, D) rows with each of some (Q, D) queries, all in float32, on a
            GPU for example. It must be as exact as float32 arithmetic is (TF32 is not); numpy's by default.

        progress: called with the number of photos looked at since the last call.

    Returns:
        Neighbours with K = min(k, N); without photos, empty lists and similarities of shape (Q, 0).

    Raises:
        DataError: vectors differ in size, are not finite, or don't match their ids in number.
    """
    multiply = product or _multiply
    probes = np.array(queries.vectors, dtype=np.float32)
    if not len(probes):
        return as_neighbours([])
    starts = range(0, len(probes), _QUERY_BLOCK)
    parts = [probes[start : start + _QUERY_BLOCK] for start in starts]
    lengths = [
        measure_longest(part, "the queries", queries.image_ids[start:])
        for start, part in zip(starts, parts, strict=True)
    ]
    near = [Near(len(part), k=k) for part in parts]

    def look(cut: tuple[int, list[Descriptors]]) -> int:
        first, pieces = cut
        rows = read_block(pieces)
        longest = measure_longest(rows, "a shard", [image_id for piece in pieces for image_id in piece.image_ids])
        for found, length, rough in zip(near, lengths, multiply(rows, parts), strict=True):
            found.offer(rough, first=first, slack=_bound_error(probes.shape[1], length * longest))
        return len(rows)

    with threadpool_limits(1, user_api="blas"):
        for n_seen in map_ahead(look, cut_blocks(shards, block=block, size=probes.shape[1]), workers=count_cores()):
            progress(n_seen)
        return _rank(probes, near, shards, k=k)


def score_rows(query: FloatArray, rows: NDArray[np.floating]) -> FloatArray:
    """Return the inner products of one query (D,) with rows (M, D), one by one.

    Each is a function of its two vectors alone. A matrix product is not: its sums run in an order that changes with the
    matrices' shapes and the threads. Rows of over 10,000 numbers want linear algebra of one thread.
    """
    return _score_pairs(query[None], np.zeros(len(rows), np.int64), rows, np.arange(len(rows)))


def as_neighbours(found: list[list[tuple[float, str]]]) -> Neighbours:
    """Build Neighbours from Q sorted lists of (negative similarity, id)."""
    similarities = np.full((len(found), max(map(len, found), default=0)), np.nan, dtype=np.float32)
    for row, pairs in enumerate(found):
        similarities[row, : len(pairs)] = [-negative for negative, _ in pairs]
    return Neighbours([[image_id for _, image_id in pairs] for pairs in found], similarities)


def _rank(probes: FloatArray, near: Sequence[Near], shards: Sequence[Descriptors], *, k: int) -> Neighbours:
    """Score what is near and keep the k best of each query; a photo that is near to many queries is read once."""
    settled = [found.settle() for found in near]
    queries = np.concatenate([own + number * _QUERY_BLOCK for number, (own, _) in enumerate(settled)])
    rows = np.concatenate([own for _, own in settled])
    order = np.argsort(rows, kind="stable")
    queries, rows = queries[order], rows[order]
    pieces = list(cut_rows(shards, rows))
    ends = list(itertools.accumulate((len(local) for _, local in pieces), initial=0))

    def score(number: int) -> tuple[FloatArray, list[str]]:
        shard, local = pieces[number]
        each, places = np.unique(local, return_inverse=True)
        own = queries[ends[number] : ends[number + 1]]
        return _score_pairs(probes, own, read_rows(shard, each), places), [shard.image_ids[row] for row in local]

    similarities, image_ids = np.empty(len(rows), np.float32), np.empty(len(rows), object)
    for number, (scores, ids) in enumerate(map_ahead(score, range(len(pieces)), workers=count_cores())):
        part = slice(ends[number], ends[number + 1])
        similarities[part], image_ids[part] = scores, ids
    order = np.lexsort((-similarities, queries))
    return _cut_best(queries[order], similarities[order], image_ids[order], n_queries=len(probes), k=k)


def _cut_best(
    queries: Rows, similarities: FloatArray, image_ids: NDArray[np.object_], *, n_queries: int, k: int
) -> Neighbours:
    """Return the k best of each query of pairs that stand by query and similarity, but with ties in any order."""
    starts = np.searchsorted(queries, np.arange(n_queries + 1))
    best = np.full((n_queries, int(np.diff(starts).clip(max=k).max(initial=0))), np.nan, np.float32)
    names: list[list[str]] = []
    for query, (start, end) in enumerate(itertools.pairwise(starts.tolist())):
        own, ids = similarities[start:end], image_ids[start:end].tolist()
        if (own[1:] == own[:-1]).any():
            ids = [image_id for _, image_id in sorted(zip((-own).tolist(), ids, strict=True))]
        best[query, : min(k, len(ids))] = own[:k]
        names.append(ids[:k])
    return Neighbours(names, best)


def _score_pairs(probes: FloatArray, own: Rows, rows: NDArray[np.floating], places: Rows) -> FloatArray:
    """Return the (M,) inner products of pairs: which probe, and which row."""
    similarities = np.empty(len(own), np.float32)
    for start in range(0, len(own), _SCORED):
        part = slice(start, start + _SCORED)
        ones, others = probes[own[part]].astype(np.float64), rows[places[part]].astype(np.float64)
        similarities[part] = np.vecdot(ones, others)
    return similarities


def _bound_error(size: int, lengths: float) -> float:
    """Return how far a float32 inner product can be from the true one, in any order of its sums, with room.

    Args:
        size: D.
        lengths: the product of both vectors' lengths.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: D u |x| |y|, u = 2^-24.
    """
    return (size + 4) * 2.0**-23 * lengths


def _multiply(rows: FloatArray, parts: Sequence[FloatArray]) -> Iterator[FloatArray]:
    for part in parts:
        yield rows @ part.T
