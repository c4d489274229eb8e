"""Approximate search by a FAISS index, with its recall measured against exact search.

The index only proposes; the similarities and the order of what it proposes are those of exact search. For a few
thousand queries exact search is fast enough: an index pays when many queries meet the same photos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from overlap.base.errors import DataError
from overlap.base.tables import Descriptors, FloatArray
from overlap.search.exact import Neighbours, as_neighbours, score_rows, search_exact
from overlap.search.rows import BLOCK, take_rows

if TYPE_CHECKING:
    import faiss

_LINKS = 32
_CONSTRUCTION = 200
# FAISS asks for this many training vectors a centroid.
_PER_CENTROID = 39
_TRAINING_ROWS = 100_000
# PQ similarities are coarse: so many times k are proposed and ranked exactly.
_PROPOSED = MappingProxyType({"hnsw": 2, "ivfpq": 8})


@dataclass(frozen=True)
class ApproximateNeighbours:
    """Hold what an index found, and which share of the true neighbours that is.

    Args:
        neighbours: best photos first; a list is shorter than K where the index proposed fewer.
        recall: mean share of exact search's K photos that were found, over the queries that were checked.
        n_checked: how many queries that is.
    """

    neighbours: Neighbours
    recall: float
    n_checked: int


def search_approximate(
    queries: Descriptors, shards: Sequence[Descriptors], *, k: int, kind: str, n_checked: int = 100, seed: int = 0
) -> ApproximateNeighbours:
    """Build an index over the photos, search it, rank what it proposes exactly, and measure its recall.

    The parameters follow from the number of photos. Training and building run on one thread, so that the same photos
    in the same order give the same index.

    Args:
        queries: Q queries.
        shards: the photos; vectors may be memory-mapped, FAISS keeps a copy: float32 for ``hnsw``, codes for ``ivfpq``.
        k: how many photos a query gets at most.
        kind: ``hnsw`` or ``ivfpq``.
        n_checked: how many queries, evenly spread, are searched exactly to measure recall.
        seed: of the training sample.

    Raises:
        DataError: there is no photo, or exact search refuses the descriptors.
    """
    n_photos = sum(len(shard.image_ids) for shard in shards)
    if not n_photos:
        raise DataError("there are no photos to build an index over; run the step descriptors first")
    probes = np.array(queries.vectors, dtype=np.float32)
    proposed = _propose(probes, shards, n_photos=n_photos, k=min(k, n_photos), kind=kind, seed=seed)
    with threadpool_limits(1, user_api="blas"):
        ranked = [_rank(probe, rows, shards)[:k] for probe, rows in zip(probes, proposed, strict=True)]
    neighbours = as_neighbours(ranked)
    checked = np.unique(np.linspace(0, len(probes) - 1, min(n_checked, len(probes))).round().astype(int))
    return ApproximateNeighbours(neighbours, _measure_recall(queries, shards, neighbours, checked, k=k), len(checked))


def measure_overlap(found: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]) -> float:
    """Return the mean share of the expected ids that were found; 1 where nothing is expected."""
    shares = [len(set(got) & set(want)) / len(want) for got, want in zip(found, expected, strict=True) if len(want)]
    return float(np.mean(shares)) if shares else 1.0


def _propose(
    probes: FloatArray, shards: Sequence[Descriptors], *, n_photos: int, k: int, kind: str, seed: int
) -> NDArray[np.int64]:
    n_proposed = k * _PROPOSED[kind]
    if n_proposed >= n_photos or not len(probes):
        return np.tile(np.arange(n_photos), (len(probes), 1))
    with _one_thread():
        index = _BUILDERS[kind](probes.shape[1], n_photos, n_proposed)
        if not index.is_trained:
            index.train(_draw(shards, n_photos=n_photos, seed=seed))
        for shard in shards:
            for start in range(0, len(shard.image_ids), BLOCK):
                index.add(np.array(shard.vectors[start : start + BLOCK], dtype=np.float32))
    _, rows = index.search(probes, n_proposed)
    return np.asarray(rows)


def _build_hnsw(size: int, n_photos: int, n_proposed: int) -> faiss.Index:
    import faiss

    del n_photos
    index = faiss.IndexHNSWFlat(size, _LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = _CONSTRUCTION
    index.hnsw.efSearch = max(_CONSTRUCTION, n_proposed)
    return index


def _build_ivfpq(size: int, n_photos: int, n_proposed: int) -> faiss.Index:
    """Build 4 sqrt(N) lists, an eighth of them probed, and a code of about one byte for eight numbers."""
    import faiss

    del n_proposed
    lists = max(1, min(int(4 * math.sqrt(n_photos)), n_photos // _PER_CENTROID))
    parts = max(part for part in range(1, max(size // 8, 1) + 1) if size % part == 0)
    bits = max(1, min(8, int(math.log2(max(n_photos / _PER_CENTROID, 2)))))
    index = faiss.IndexIVFPQ(faiss.IndexFlatIP(size), size, lists, parts, bits, faiss.METRIC_INNER_PRODUCT)
    index.nprobe = max(8, lists // 8)
    index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
    return index


_BUILDERS: Mapping[str, Callable[[int, int, int], faiss.Index]] = MappingProxyType(
    {"hnsw": _build_hnsw, "ivfpq": _build_ivfpq}
)


def _draw(shards: Sequence[Descriptors], *, n_photos: int, seed: int) -> FloatArray:
    drawn = np.sort(np.random.default_rng(seed).permutation(n_photos)[:_TRAINING_ROWS])
    return np.concatenate([vectors for vectors, _ in take_rows(shards, drawn)])


def _rank(probe: FloatArray, rows: NDArray[np.int64], shards: Sequence[Descriptors]) -> list[tuple[float, str]]:
    found = take_rows(shards, np.sort(rows[rows >= 0]))
    scored = ((-score_rows(probe, vectors), image_ids) for vectors, image_ids in found)
    return sorted(pair for negatives, ids in scored for pair in zip(negatives.tolist(), ids, strict=True))


def _measure_recall(
    queries: Descriptors, shards: Sequence[Descriptors], neighbours: Neighbours, checked: NDArray[np.int64], *, k: int
) -> float:
    some = Descriptors([queries.image_ids[row] for row in checked], np.asarray(queries.vectors)[checked])
    exact = search_exact(some, shards, k=k)
    return measure_overlap([neighbours.image_ids[row] for row in checked], exact.image_ids)


@contextmanager
def _one_thread() -> Iterator[None]:
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
