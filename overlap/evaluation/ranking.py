"""Where photos stand in a ranking by similarity, without sorting a million distractors."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from overlap.errors import DataError
from overlap.evaluation.protocol import IndexArray
from overlap.tables import Descriptors, FloatArray

BLOCK = 8192


def find_places(
    queries: Descriptors,
    database: Descriptors,
    judged: Sequence[IndexArray],
    *,
    distractors: Iterable[Descriptors] = (),
    block: int = BLOCK,
) -> list[IndexArray]:
    """Find the places, from 0, of some photos in each query's ranking of the database and all distractors.

    Photos are ranked by inner product, descending; equal ones by their row, and distractors stand after the database,
    as if they were appended to it. Inner products are summed in float64 and rounded to float32, so that copies of a
    photo tie wherever they stand. Memory: Q x N numbers for the database, and ``block`` rows of distractors at a time.

    Args:
        queries: Q queries.
        database: N photos.
        judged: for each query, the database rows whose places are asked for.
        distractors: shards, in any cut; each may be memory-mapped.

    Returns:
        For each query, the places of its ``judged`` rows, in their order.

    Raises:
        DataError: descriptors differ in size, don't match their ids in number, or hold undefined numbers.
    """
    probes = _as_float64(queries, size=None, name="the queries")
    similarities = np.concatenate(
        [_multiply(probes, rows) for rows in _cut([database], size=probes.shape[1], block=block, name="the database")]
        or [np.empty((len(probes), 0), dtype=np.float32)],
        axis=1,
    )
    bars = [row[rows] for row, rows in zip(similarities, judged, strict=True)]
    ahead = [_places(row)[rows] for row, rows in zip(similarities, judged, strict=True)]
    for rows in _cut(distractors, size=probes.shape[1], block=block, name="the distractors"):
        products = _multiply(probes, rows)
        ahead = [places + _count_above(row, bar) for places, row, bar in zip(ahead, products, bars, strict=True)]
    return ahead


def _places(similarities: FloatArray) -> IndexArray:
    places = np.empty(len(similarities), dtype=np.int64)
    places[np.argsort(-similarities, kind="stable")] = np.arange(len(similarities))
    return places


def _count_above(similarities: FloatArray, bars: FloatArray) -> IndexArray:
    """Count, for each bar, the similarities that are greater."""
    order = np.argsort(bars)
    passed = np.searchsorted(bars[order], similarities)  # how many bars each similarity is above
    above = np.bincount(passed, minlength=len(bars) + 1)[::-1].cumsum()[::-1]
    counts = np.empty(len(bars), dtype=np.int64)
    counts[order] = above[1:]
    return counts


def _multiply(probes: NDArray[np.float64], rows: NDArray[np.float64]) -> FloatArray:
    return (probes @ rows.T).astype(np.float32)


def _cut(shards: Iterable[Descriptors], *, size: int, block: int, name: str) -> Iterator[NDArray[np.float64]]:
    for shard in shards:
        for start in range(0, len(shard.vectors), block):
            part = Descriptors(shard.image_ids[start : start + block], shard.vectors[start : start + block])
            yield _as_float64(part, size=size, name=name)


def _as_float64(descriptors: Descriptors, *, size: int | None, name: str) -> NDArray[np.float64]:
    vectors = np.asarray(descriptors.vectors, dtype=np.float64)
    if vectors.ndim != 2 or len(vectors) != len(descriptors.image_ids):
        raise DataError(
            f"{name}: descriptors of shape {vectors.shape} for {len(descriptors.image_ids)} ids; expected a row an id"
        )
    if size is not None and vectors.shape[1] != size:
        raise DataError(
            f"{name}: descriptors of {vectors.shape[1]} numbers, the queries' have {size}; describe both with the same "
            "network and settings"
        )
    undefined = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(undefined):
        raise DataError(f"{name}: the descriptor of {descriptors.image_ids[undefined[0]]} holds undefined numbers")
    return vectors
