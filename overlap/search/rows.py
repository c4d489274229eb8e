"""Reading the rows of stored descriptors: in blocks from front to back, or some of them."""

import itertools
import mmap
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError
from overlap.base.tables import Descriptors, FloatArray

Rows = NDArray[np.int64]

# 16 MB of float32 at 2,048 numbers a photo.
BLOCK = 2048
_SOME = 256
_WIDEN_ROWS = 16
_HALF_EXPONENT = np.int16(0x7C00)
# The sign, and the ten digits and five bits of exponent of a half, at a float's places.
_FLOAT_BITS = np.int32(-0x70002000)


def cut_blocks(shards: Sequence[Descriptors], *, block: int, size: int) -> Iterator[tuple[int, list[Descriptors]]]:
    """Cut shards into blocks of at most ``block`` photos, small shards together; nothing is read.

    Args:
        size: the numbers that a descriptor must have.

    Yields:
        The block's first row over all shards, and its parts.

    Raises:
        DataError: a shard has descriptors of another size, or not as many as ids.
    """
    parts: list[Descriptors] = []
    first = n_waiting = 0
    for shard in shards:
        _check_shard(shard, size=size)
        for start in range(0, len(shard.image_ids), block):
            part = Descriptors(shard.image_ids[start : start + block], shard.vectors[start : start + block])
            if n_waiting + len(part.image_ids) > block:
                yield first, parts
                first, parts, n_waiting = first + n_waiting, [], 0
            parts.append(part)
            n_waiting += len(part.image_ids)
    if parts:
        yield first, parts


def read_block(parts: Sequence[Descriptors]) -> FloatArray:
    """Read the (B, D) float32 vectors of a block."""
    rows = np.empty((sum(len(part.image_ids) for part in parts), parts[0].vectors.shape[1]), np.float32)
    end = 0
    for part in parts:
        start, end = end, end + len(part.image_ids)
        widen(part.vectors, rows[start:end])
        _let_go(part.vectors)
    return rows


def cut_rows(shards: Sequence[Descriptors], rows: Rows) -> Iterator[tuple[Descriptors, Rows]]:
    """Yield a shard and some of the ascending rows, counted from its own first one, at a time."""
    ends = itertools.accumulate(len(shard.image_ids) for shard in shards)
    for shard, end in zip(shards, ends, strict=True):
        start = end - len(shard.image_ids)
        first, last = (int(place) for place in np.searchsorted(rows, (start, end)))
        for at in range(first, last, _SOME):
            yield shard, rows[at : min(at + _SOME, last)] - start


def read_rows(shard: Descriptors, rows: Rows) -> FloatArray:
    """Read the (M, D) float32 vectors of ascending rows of a shard."""
    vectors = np.empty((len(rows), shard.vectors.shape[1]), np.float32)
    widen(shard.vectors[rows], vectors)
    _let_go(shard.vectors)
    return vectors


def take_rows(shards: Sequence[Descriptors], rows: Rows) -> Iterator[tuple[FloatArray, list[str]]]:
    """Yield the vectors and ids of some of the rows at a time.

    Args:
        rows: ascending row numbers over all shards; a row may stand more than once.

    Yields:
        (M, D) float32 vectors, and M ids.
    """
    for shard, local in cut_rows(shards, rows):
        yield read_rows(shard, local), [shard.image_ids[row] for row in local]


def measure_longest(rows: FloatArray, name: str, image_ids: Sequence[str]) -> float:
    """Return the length of the longest row.

    Raises:
        DataError: a number is not finite, or a length overflows.
    """
    squares = np.einsum("ij,ij->i", rows, rows)
    if not np.isfinite(squares).all():
        row = int(np.flatnonzero(~np.isfinite(squares))[0])
        raise DataError(f"{name}: the descriptor of {image_ids[row]} holds infinite, undefined or huge numbers")
    return float(np.sqrt(squares.max(initial=0)))


def widen(vectors: NDArray[np.floating], out: FloatArray) -> None:
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
