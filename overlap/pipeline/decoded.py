"""Training photos, decoded and brought to the shape of their group, kept on disk where they fit."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.base.config import TrainingConfig
from overlap.base.images import PhotoLimits, Pixels, load_photo, resize_to
from overlap.base.store import read_array, write_array
from overlap.base.tables import IMAGES, as_table
from overlap.base.workers import count_cores, start_processes
from overlap.pipeline.run import Run
from overlap.pipeline.shards import (
    Done,
    Row,
    Shard,
    check_quarantine,
    join_quarantine,
    read_rows,
    run_photos,
    store_each,
)
from overlap.study.training.groups import IndexArray, Size, find_group, group_sizes

if TYPE_CHECKING:
    from overlap.study.training.reading import LoadPhotos

STEP = "decoded"
_UNREADABLE = -1
_GB = 1e9
_KEY = ("source", "image_id", "stamp")


@dataclass(frozen=True, eq=False)
class Decoded:
    """Hold the readable ones of some photos.

    Args:
        rows: (N,) their rows in the table that was asked for.
        groups: (N,) groups by aspect ratio.
        sizes: width and height by group.
        load: returns pixels of some of the N at a width and height.
    """

    rows: IndexArray
    groups: IndexArray
    sizes: tuple[Size, ...]
    load: "LoadPhotos"


@dataclass(frozen=True)
class _Decoding:
    size_px: int
    kind: str
    keeps: bool


@dataclass(frozen=True, eq=False)
class _Photo:
    """Say where a photo lies decoded: its shard's pixels, from a byte on, at the size of its group."""

    pixels: NDArray[np.uint8]
    begin: int
    size_px: Size
    group: int

    def read(self, size_px: Size) -> Pixels:
        width, height = self.size_px
        flat = self.pixels[self.begin : self.begin + width * height * 3]
        pixels = np.asarray(flat).reshape(height, width, 3)
        return pixels if size_px == self.size_px else resize_to(pixels, size_px)


@contextmanager
def decode_photos(run: Run, images: pa.Table, *, base: pa.Table, training: TrainingConfig) -> Iterator[Decoded]:
    """Look at every photo once, and say how to load it.

    Args:
        images: IMAGES of a version of the training set.
        base: IMAGES of the whole training set, whose decoded photos all versions share.

    Raises:
        DataError: too many photos can't be read (run.max_unreadable).
    """
    known = set(map(_key, base.select(_KEY).to_pylist()))
    rows = images.to_pylist()
    more = [row for row in rows if _key(row) not in known]
    keeps = _fits(len(known) + len(more), training)
    parts = (base, as_table(more, IMAGES))
    shards = [shard for part in parts for shard in _decode_part(run, part, training, keeps=keeps)]
    check_quarantine(run, join_quarantine(list(map(_folder, shards))), len(known) + len(more))
    photos = {key: photo for shard in shards for key, photo in _list_photos(shard)}
    readable = np.array([row for row, each in enumerate(rows) if photos[_key(each)] is not None], dtype=np.int64)
    chosen = [photo for each in rows if (photo := photos[_key(each)]) is not None]
    groups = np.array([photo.group for photo in chosen], dtype=np.int64)
    sizes = group_sizes(training.size_px, training.groups)
    if keeps:
        yield Decoded(readable, groups, sizes, _load_kept(chosen))
        return
    with start_processes(run.config.run.workers) as pool:
        yield Decoded(readable, groups, sizes, _load_afresh(pool, [rows[row] for row in readable], run.limits))


def _fits(n_photos: int, training: TrainingConfig) -> bool:
    largest = max(width * height * 3 for width, height in group_sizes(training.size_px, training.groups))
    return n_photos * largest <= training.cache_gb * _GB


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    source, image_id, stamp = (row[name] for name in _KEY)
    return source, image_id, stamp


def _decode_part(run: Run, images: pa.Table, training: TrainingConfig, *, keeps: bool) -> Sequence[Shard]:
    named = (training.size_px, training.groups, keeps)
    label = "decode training photos"
    return run_photos(run, STEP, images, _store_decoded, settings=_Decoding(*named), label=label, more=named)


def _store_decoded(shard: Shard) -> str:
    work, limits = shard.work.settings, shard.work.limits
    sizes = group_sizes(work.size_px, work.kind)

    def decode(row: Row) -> tuple[int, Pixels | None]:
        pixels = load_photo(row, limits=limits)
        group = find_group(pixels.shape[1], pixels.shape[0], kind=work.kind)
        return group, resize_to(pixels, sizes[group]).ravel() if work.keeps else None

    return store_each(shard, decode, _write_decoded)


def _write_decoded(folder: Path, done: Done[tuple[int, Pixels | None]]) -> None:
    groups = [done.made[place][0] if place in done.made else _UNREADABLE for place in range(len(done.rows))]
    kept = [pixels for _, pixels in done.made.values() if pixels is not None]
    write_array(folder, "groups", np.array(groups, dtype=np.int16))
    write_array(folder, "pixels", np.concatenate([np.zeros(0, np.uint8), *kept]))


def _list_photos(shard: Shard) -> Iterator[tuple[tuple[str, str, str], _Photo | None]]:
    """Yield each photo of a shard with its key; None for one that can't be read."""
    sizes = group_sizes(shard.work.settings.size_px, shard.work.settings.kind)
    pixels, begin = read_array(_folder(shard), "pixels"), 0
    for row, group in zip(read_rows(shard), read_array(_folder(shard), "groups").tolist(), strict=True):
        if group == _UNREADABLE:
            yield _key(row), None
            continue
        yield _key(row), _Photo(pixels, begin, sizes[group], group)
        begin += sizes[group][0] * sizes[group][1] * 3


def _load_kept(photos: Sequence[_Photo]) -> "LoadPhotos":
    return lambda rows, size_px: np.stack([photos[row].read(size_px) for row in rows])


def _load_afresh(pool: ProcessPoolExecutor, rows: Sequence[dict[str, Any]], limits: PhotoLimits) -> "LoadPhotos":
    def load(chosen: IndexArray, size_px: Size) -> Pixels:
        share = -(-len(chosen) // count_cores())
        parts = [[rows[row] for row in chosen[start : start + share]] for start in range(0, len(chosen), share)]
        return np.concatenate(
            [future.result() for future in [pool.submit(_decode, part, size_px, limits) for part in parts]]
        )

    return load


def _decode(rows: Sequence[dict[str, Any]], size_px: Size, limits: PhotoLimits) -> Pixels:
    return np.stack([resize_to(load_photo(row, limits=limits), size_px) for row in rows])


def _folder(shard: Shard) -> Path:
    return shard.store.get(shard.step, shard.fingerprint)
