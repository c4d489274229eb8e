"""How photos and pairs are cut into shards."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]
# Cuts the rows of IMAGES into parts of at most a size.
Cut: TypeAlias = Callable[[pa.Table, int], list[Rows]]

_LEAST_BITS = 4


def cut(rows: Sequence[Any], at_most: int) -> list[Sequence[Any]]:
    """Cut rows into shards of at most the given size, and a small set into about sixteen, on any machine alike."""
    size = min(at_most, max(ceil(len(rows) / 16), 1))
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def cut_in_order(images: pa.Table, at_most: int) -> list[Rows]:
    """Cut photos as ``cut`` does, in their order."""
    return [np.asarray(part, np.int64) for part in cut(range(images.num_rows), at_most)]


def cut_photos(images: pa.Table, at_most: int) -> list[Rows]:
    """Cut photos into parts of at most the given size, by the photo alone: its archive and a hash of its id.

    So the order of the rows changes nothing, and a photo more changes the part that it comes into, or splits it in
    two. Photos that lie in no archive are cut into sixteen parts at least.

    Args:
        images: IMAGES.

    Returns:
        The rows of each part, in the order of the hash.
    """
    hashes = _hash_ids(images)
    encoded = pc.fill_null(images["archive"], "").combine_chunks().dictionary_encode()
    names = encoded.dictionary.to_pylist()
    archives = np.argsort(np.argsort(np.array(names, object)))[encoded.indices.to_numpy()]
    order = np.lexsort((hashes["low"], hashes["high"], archives))
    parts: list[Rows] = []
    for archive, name in enumerate(sorted(names)):
        first, end = np.searchsorted(archives[order], [archive, archive + 1])
        own = order[first:end]
        least = 0 if name else _LEAST_BITS
        parts += [own[some] for some in _split(hashes["high"][own], at_most, bit=0, least=least)]
    return parts


def _hash_ids(images: pa.Table) -> NDArray[Any]:
    digests = bytearray()
    for batch in images.select(["source", "image_id"]).to_batches(max_chunksize=1 << 16):
        for source, image_id in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            digests += hashlib.sha256(f"{source}\0{image_id}".encode()).digest()[:16]
    return np.frombuffer(digests, [("high", ">u8"), ("low", ">u8")])


def _split(sorted_hashes: NDArray[np.uint64], at_most: int, *, bit: int, least: int) -> Iterator[slice]:
    """Halve by one bit of the hash after another until the parts are small enough; empty ones are left out.

    A photo that stands there twice, as a query does whole and in its box, stays in one part whatever its size.
    """
    stack = [(0, len(sorted_hashes), bit)]
    while stack:
        first, end, bit = stack.pop()
        if first == end:
            continue
        if (end - first <= at_most or bit == 64) and bit >= least:
            yield slice(first, end)
            continue
        middle = first + int(np.count_nonzero((sorted_hashes[first:end] >> np.uint64(63 - bit)) & np.uint64(1) == 0))
        stack += [(middle, end, bit + 1), (first, middle, bit + 1)]
