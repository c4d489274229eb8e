"""Exact search by inner product, streamed over shards of descriptors.

A fast float32 product finds which photos can be among the best; their similarities are then computed again, each from
its two vectors alone and in one order, and the ranking goes by those. So the result doesn't depend on how the photos
are cut into shards and blocks, on their order, or on the number of threads.
"""

import itertools
import mmap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from overlap.errors import DataError
from overlap.tables import Descriptors, FloatArray
from overlap.threads import map_ahead
from overlap.workers import count_cores

Product = Callable[[FloatArray, FloatArray], FloatArray]
Rows = NDArray[np.int64]
Part = TypeVar("Part")

# 32 MB of float32 at 2,048 numbers a photo: fits the last cache of a server.
BLOCK = 4096
_QUERY_BLOCK = 1024
_RESCORE_ROWS = 256
_WIDEN_ROWS = 16
_HALF_EXPONENT = np.int16(0x7C00)
# The sign, and the ten digits and five bits of exponent of a half, at a float's places.
_FLOAT_BITS = np.int32(-0x70002000)
# With more than a block's rows over this as queries, turning the product over costs more than it spares.
_FEW = 16
# A block in which so many times k photos are near has no useful bar yet.
_CROWD = 4


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
class _Near:
    """Collect which photos can still be among the k best of a block of queries.

    A rough similarity is wrong by at most its slack: the k-th best lower bound is the bar that a photo's upper bound
    must reach.
    """

    k: int
    bars: FloatArray
    slack: float = 0.0
    queries: list[Rows] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)
    lows: list[FloatArray] = field(default_factory=list)
    n_waiting: int = 0

    def offer(self, rough: FloatArray, *, first: int, slack: float) -> None:
        """Take (Q, B) rough similarities of the photos from row ``first`` on."""
        self.slack = max(self.slack, slack)
        near = np.flatnonzero(rough >= (self.bars - slack)[:, None])
        if len(near) > _CROWD * self.k * len(self.bars):
            self.bars = np.maximum(self.bars, _kth_best(rough, self.k) - slack)
            near = np.flatnonzero(rough >= (self.bars - slack)[:, None])
        queries, columns = np.divmod(near, rough.shape[1])
        self.queries.append(queries)
        self.rows.append(columns + first)
        self.lows.append(rough[queries, columns] - np.float32(slack))
        self.n_waiting += len(queries)
        if self.n_waiting > _CROWD * self.k * len(self.bars):
            self.settle()

    def settle(self) -> tuple[Rows, Rows]:
        """Raise the bars, drop what is under them, and return the (M,) queries and rows that are left, by query."""
        queries, rows, lows = (np.concatenate([*parts]) for parts in (self.queries, self.rows, self.lows))
        order = np.lexsort((-lows, queries))
        queries, rows, lows = queries[order], rows[order], lows[order]
        starts = np.searchsorted(queries, np.arange(len(self.bars) + 1))
        full = np.flatnonzero(np.diff(starts) >= self.k)
        self.bars[full] = np.maximum(self.bars[full], lows[starts[full] + self.k - 1])
        kept = lows + np.float32(2 * self.slack) >= self.bars[queries]
        self.queries, self.rows, self.lows = [queries[kept]], [rows[kept]], [lows[kept]]
        self.n_waiting = 0
        return self.queries[0], self.rows[0]


def search_exact(
    queries: Descriptors,
    shards: Sequence[Descriptors],
    *,
    k: int,
    block: int = BLOCK,
    product: Product | None = None,
) -> Neighbours:
    """Find the k photos of highest inner product for every query.

    The photos are read once from front to back, and those that can be among the best once more. Memory is bounded by
    three blocks of ``block`` rows in float32, twice ``block`` similarities for 1024 queries, and some 4 k numbers a
    query.

    Args:
        queries: Q queries.
        shards: the photos, in any cut and order; a shard's vectors may be memory-mapped.
        k: how many photos a query gets at most; all of them where there are fewer.
        block: rows that are held in float32 at a time.
        product: computes the (Q, B) inner products of (Q, D) and (B, D) float32 rows into a new array, on a GPU for
            example. It must be as exact as float32 arithmetic is (TF32 is not); numpy's by default.

    Returns:
        Neighbours with K = min(k, N); without photos, empty lists and similarities of shape (Q, 0).

    Raises:
        DataError: vectors differ in size, are not finite, or don't match their ids in number.
    """
    product = product or _multiply
    probes = np.array(queries.vectors, dtype=np.float32)
    if not len(probes):
        return as_neighbours([])
    parts = [probes[start : start + _QUERY_BLOCK] for start in range(0, len(probes), _QUERY_BLOCK)]
    near = [_Near(k, np.full(len(part), -np.inf, np.float32)) for part in parts]
    lengths = [_longest(part, "the queries", queries.image_ids) for part in parts]
    with ThreadPoolExecutor(1) as pool:
        looked: Future[None] | None = None
        for first, rows, ids in _read_ahead(_read_blocks(shards, block=block, size=probes.shape[1])):
            longest = _longest(rows, "a shard", ids)
            for part, found, length in zip(parts, near, lengths, strict=True):
                rough, slack = product(part, rows), _bound_error(probes.shape[1], length * longest)
                if looked is not None:
                    looked.result()
                looked = pool.submit(found.offer, rough, first=first, slack=slack)
        if looked is not None:
            looked.result()
    return as_neighbours(_rank(probes, near, shards))


def score_rows(query: FloatArray, rows: NDArray[np.floating]) -> FloatArray:
    """Return the inner products of one query (D,), or of M queries (M, D), with rows (M, D), one by one.

    Each is a function of its two vectors alone. A matrix product is not: its sums run in an order that changes with the
    matrices' shapes and the threads.
    """
    similarities = np.empty(len(rows), dtype=np.float32)
    queries = np.broadcast_to(query, rows.shape)
    for start in range(0, len(rows), _RESCORE_ROWS):
        part = slice(start, start + _RESCORE_ROWS)
        ones, others = (np.ascontiguousarray(some[part], dtype=np.float64) for some in (queries, rows))
        similarities[part] = np.einsum("ij,ij->i", ones, others)
    return similarities


def as_neighbours(found: list[list[tuple[float, str]]]) -> Neighbours:
    """Build Neighbours from Q sorted lists of (negative similarity, id)."""
    similarities = np.full((len(found), max(map(len, found), default=0)), np.nan, dtype=np.float32)
    for row, pairs in enumerate(found):
        similarities[row, : len(pairs)] = [-negative for negative, _ in pairs]
    return Neighbours([[image_id for _, image_id in pairs] for pairs in found], similarities)


def take_rows(shards: Sequence[Descriptors], rows: Rows) -> Iterator[tuple[FloatArray, list[str]]]:
    """Yield the vectors and ids of some of the rows at a time.

    Args:
        rows: ascending row numbers over all shards; a row may stand more than once.

    Yields:
        (M, D) float32 vectors, and M ids.
    """
    for shard, local in _cut_rows(shards, rows):
        yield _read_rows(shard, local)


def _rank(probes: FloatArray, near: Sequence[_Near], shards: Sequence[Descriptors]) -> list[list[tuple[float, str]]]:
    """Return for each query the k best photos as (negative similarity, id), best first.

    A photo that is near to many queries is read once.
    """
    if not near[0].rows:
        return [[] for _ in probes]
    settled = [found.settle() for found in near]
    queries = np.concatenate([own + number * _QUERY_BLOCK for number, (own, _) in enumerate(settled)])
    rows = np.concatenate([own for _, own in settled])
    order = np.argsort(rows, kind="stable")
    queries, rows = queries[order], rows[order]
    negatives, image_ids = np.empty(len(rows), np.float32), []
    pieces = list(_cut_rows(shards, rows))
    ends = itertools.accumulate(len(local) for _, local in pieces)
    parts = [slice(end - len(local), end) for end, (_, local) in zip(ends, pieces, strict=True)]

    def score(number: int) -> tuple[FloatArray, list[str]]:
        vectors, ids = _read_rows(*pieces[number])
        return score_rows(probes[queries[parts[number]]], vectors), ids

    for part, (scores, ids) in zip(parts, map_ahead(score, range(len(parts)), workers=count_cores()), strict=True):
        negatives[part] = -scores
        image_ids += ids
    order = np.lexsort((negatives, queries))
    own = np.split(order, np.searchsorted(queries[order], np.arange(1, len(probes))))
    return [
        sorted(zip(negatives[each].tolist(), [image_ids[row] for row in each], strict=True))[: near[0].k]
        for each in own
    ]


def _cut_rows(shards: Sequence[Descriptors], rows: Rows) -> Iterator[tuple[Descriptors, Rows]]:
    """Yield a shard and some of the ascending rows, counted from its own first one, at a time."""
    ends = itertools.accumulate(len(shard.image_ids) for shard in shards)
    for shard, end in zip(shards, ends, strict=True):
        start = end - len(shard.image_ids)
        first, last = (int(place) for place in np.searchsorted(rows, (start, end)))
        for at in range(first, last, _RESCORE_ROWS):
            yield shard, rows[at : min(at + _RESCORE_ROWS, last)] - start


def _read_rows(shard: Descriptors, local: Rows) -> tuple[FloatArray, list[str]]:
    each, places = np.unique(local, return_inverse=True)
    vectors = np.empty((len(each), shard.vectors.shape[1]), np.float32)
    _widen(shard.vectors[each], vectors)
    _let_go(shard.vectors)
    return vectors[places], [shard.image_ids[row] for row in local]


def _kth_best(similarities: FloatArray, k: int) -> FloatArray:
    """Return the k-th best of each row, minus infinity where there are fewer."""
    columns = similarities.shape[1]
    if columns < k:
        return np.full(len(similarities), -np.inf, np.float32)
    return np.asarray(np.partition(similarities, columns - k, axis=1)[:, columns - k])


def _bound_error(size: int, lengths: float) -> float:
    """Return how far a float32 inner product can be from the true one, in any order of its sums, with room.

    Args:
        size: D.
        lengths: the product of both vectors' lengths.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: D u |x| |y|, u = 2^-24.
    """
    return (size + 4) * 2.0**-23 * lengths


def _longest(rows: FloatArray, name: str, image_ids: Sequence[str]) -> float:
    """Return the length of the longest row, which is finite only if every number is."""
    squares = np.einsum("ij,ij->i", rows, rows)
    if not np.isfinite(squares).all():
        row = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise DataError(f"{name}: the descriptor of {image_ids[row]} holds infinite, undefined or huge numbers")
    return float(np.sqrt(squares.max(initial=0)))


def _read_blocks(
    shards: Sequence[Descriptors], *, block: int, size: int
) -> Iterator[tuple[int, FloatArray, list[str]]]:
    """Yield the first row, the vectors in float32 and the ids of blocks of at most ``block`` photos.

    The memory of a block is used again for the next but one.
    """
    n_rows = min(block, sum(len(shard.image_ids) for shard in shards))
    places = itertools.cycle([np.empty((n_rows, size), np.float32) for _ in range(2)])
    parts: list[Descriptors] = []
    first = n_waiting = 0
    for shard in shards:
        _check_shard(shard, size=size)
        for start in range(0, len(shard.image_ids), block):
            part = Descriptors(shard.image_ids[start : start + block], shard.vectors[start : start + block])
            if n_waiting + len(part.image_ids) > block:
                yield first, *_join(parts, next(places))
                first, parts, n_waiting = first + n_waiting, [], 0
            parts.append(part)
            n_waiting += len(part.image_ids)
    if parts:
        yield first, *_join(parts, next(places))


def _join(parts: Sequence[Descriptors], place: FloatArray) -> tuple[FloatArray, list[str]]:
    """Copy parts one below the other into a place."""
    end = 0
    for part in parts:
        start, end = end, end + len(part.image_ids)
        _widen(part.vectors, place[start:end])
        _let_go(part.vectors)
    return place[:end], [image_id for part in parts for image_id in part.image_ids]


def _widen(vectors: NDArray[np.floating], out: FloatArray) -> None:
    """Copy vectors into float32 ones; numpy itself takes four times as long for half precision.

    The bits of a half, moved to a float's place, are that number times 2^-112, subnormal ones too.
    """
    if vectors.dtype != np.float16:
        out[:] = vectors
        return
    for start in range(0, len(vectors), _WIDEN_ROWS):
        part = slice(start, start + _WIDEN_ROWS)
        half = np.ascontiguousarray(vectors[part]).view(np.int16)
        if ((half & _HALF_EXPONENT) == _HALF_EXPONENT).any():
            out[part] = vectors[part]  # infinite or undefined
            continue
        bits = out[part].view(np.int32)
        np.left_shift(half, 13, out=bits, dtype=np.int32)
        np.bitwise_and(bits, _FLOAT_BITS, out=bits)
        np.multiply(out[part], np.float32(2.0**112), out=out[part])


def _read_ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """Read the next part in a thread while the present one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, parts, None)
        while (part := waiting.result()) is not None:
            waiting = pool.submit(next, parts, None)
            yield part


def _let_go(vectors: NDArray[np.floating]) -> None:
    """Give mapped pages back: they stay in the system's cache, and no longer count as this process's memory."""
    mapped = getattr(vectors, "_mmap", None)
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _check_shard(shard: Descriptors, *, size: int) -> None:
    if len(shard.image_ids) != len(shard.vectors):
        raise DataError(
            f"a shard has {len(shard.image_ids)} ids for {len(shard.vectors)} descriptors; delete it and run the "
            "step descriptors again"
        )
    if len(shard.image_ids) and shard.vectors.shape[1:] != (size,):
        raise DataError(
            f"a shard has descriptors of shape {shard.vectors.shape}, the queries of {size} numbers; describe both "
            "with the same network and settings"
        )


def _multiply(probes: FloatArray, rows: FloatArray) -> FloatArray:
    """Multiply with the longer side first where there are few queries: that is up to twice as fast."""
    if _FEW * len(probes) < len(rows):
        return np.ascontiguousarray((rows @ probes.T).T)
    return probes @ rows.T
