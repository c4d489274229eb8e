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

from overlap.config import TrainingConfig, fingerprint
from overlap.errors import DataError
from overlap.images import PhotoLimits, Pixels, load_photo, resize_to
from overlap.steps.photos import check_quarantine, join_quarantine, write_quarantine
from overlap.steps.run import Run, Shard, cut_photos, name_shard, row_stamp, run_shards
from overlap.store import read_array, write_array
from overlap.training.groups import IndexArray, Size, find_group, group_sizes
from overlap.workers import count_cores, start_processes

if TYPE_CHECKING:
    from overlap.training.reading import LoadPhotos

STEP = "decoded"
_VERSION = 2
_UNREADABLE = -1
_GB = 1e9


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
class _Work:
    rows: Sequence[dict[str, Any]]
    size_px: int
    kind: str
    limits: PhotoLimits
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
    known = {_key(row) for row in base.to_pylist()}
    rows = images.to_pylist()
    more = [row for row in rows if _key(row) not in known]
    keeps = _fits(len(known) + len(more), training)
    shards = [shard for part in (base.to_pylist(), more) for shard in _shards(run, part, training, keeps=keeps)]
    shards = run_shards(run, shards, _store_decoded, label="decode training photos")
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
    return row["source"], row["image_id"], row["stamp"]


def _shards(run: Run, rows: Sequence[dict[str, Any]], training: TrainingConfig, *, keeps: bool) -> list[Shard]:
    named = (training.size_px, training.groups, keeps)
    return [
        Shard(
            run.store,
            STEP,
            fingerprint(STEP, _VERSION, named, list(map(row_stamp, part))),
            len(part),
            _Work(part, training.size_px, training.groups, run.limits, keeps),
        )
        for part in cut_photos(rows, run.config.run.photos_per_shard)
    ]


def _store_decoded(shard: Shard) -> str:
    work: _Work = shard.work
    sizes = group_sizes(work.size_px, work.kind)
    groups, kept, refused = [], [], []
    for row in work.rows:
        try:
            pixels = load_photo(row, limits=work.limits)
        except DataError as error:
            groups.append(_UNREADABLE)
            refused.append((row, error))
            continue
        groups.append(find_group(pixels.shape[1], pixels.shape[0], kind=work.kind))
        if work.keeps:
            kept.append(resize_to(pixels, sizes[groups[-1]]).ravel())
    name = name_shard(shard, refused)
    with shard.store.put(shard.step, name) as folder:
        write_quarantine(folder, refused)
        write_array(folder, "groups", np.array(groups, dtype=np.int16))
        write_array(folder, "pixels", np.concatenate([np.zeros(0, np.uint8), *kept]))
    return name


def _list_photos(shard: Shard) -> Iterator[tuple[tuple[str, str, str], _Photo | None]]:
    """Yield each photo of a shard with its key; None for one that can't be read."""
    work: _Work = shard.work
    sizes = group_sizes(work.size_px, work.kind)
    pixels, begin = read_array(_folder(shard), "pixels"), 0
    for row, group in zip(work.rows, read_array(_folder(shard), "groups").tolist(), strict=True):
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
