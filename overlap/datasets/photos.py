"""Rows of IMAGES, built as columns: a set of 1.6 million photos has no time for a dict a row."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import DataError
from overlap.base.images import Box, stamp_file, stamp_status
from overlap.base.tables import IMAGES, LANDMARKS, checked
from overlap.datasets.sets import PhotoList, TrainingSet

# Called now and then with the number of photos looked at since the last call.
Progress: TypeAlias = Callable[[int], None]

# The stamp of a photo that is listed but can't be opened; the step that reads it puts it in quarantine.
MISSING = "missing"

_PHOTOS_PER_REPORT = 1000

# What nearly all names are: there is no time to take a million of them apart.
_is_plain = re.compile(r"[\w-][^\\\0:]*").fullmatch


def build_images(image_ids: pa.Array, paths: pa.Array, *, source: str, **columns: pa.Array) -> pa.Table:
    """Build an IMAGES table from whole columns.

    Args:
        image_ids: N ids.
        paths: N paths.
        source: the set's name.
        columns: further columns of IMAGES, N values each; what is not given is null.
    """
    n_images = len(image_ids)
    given = {"image_id": image_ids, "path": paths, "source": pa.repeat(pa.scalar(source), n_images), **columns}
    values = [given.get(field.name, pa.nulls(n_images, field.type)) for field in IMAGES]
    return checked(pa.table(values, names=IMAGES.names), IMAGES)


def build_training_set(photos: PhotoList, *, source: str, stamp: str, progress: Progress | None = None) -> TrainingSet:
    """Stamp the listed photos and count them by landmark."""
    images = build_images(
        photos.image_ids,
        photos.paths,
        source=source,
        stamp=stamp_photos(photos.paths, stamp=stamp, progress=progress),
        landmark_id=photos.landmark_ids,
        landmark_name=photos.landmark_names,
    )
    return TrainingSet(images, build_landmarks(photos))


def build_landmarks(photos: PhotoList) -> pa.Table:
    """Count the listed photos by landmark.

    Returns:
        LANDMARKS, in the order of first appearance.
    """
    encoded = pc.dictionary_encode(photos.landmark_ids)
    _, firsts, counts = np.unique(encoded.indices.to_numpy(), return_index=True, return_counts=True)
    columns = [encoded.dictionary, photos.landmark_names.take(pa.array(firsts)), pa.array(counts)]
    return checked(pa.table(columns, names=LANDMARKS.names), LANDMARKS)


def stamp_photos(paths: pa.Array, *, stamp: str, progress: Progress | None = None) -> pa.Array:
    """Stamp photos one by one; what can't be opened gets the stamp ``missing``.

    Args:
        paths: N paths.
        stamp: ``mtime`` or ``sha256``.
        progress: called every thousand photos.
    """
    stamps = []
    for start in range(0, len(paths), _PHOTOS_PER_REPORT):
        shard = paths[start : start + _PHOTOS_PER_REPORT].to_pylist()
        stamps += [_stamp(path, stamp) for path in shard]
        if progress is not None:
            progress(len(shard))
    return pa.array(stamps, pa.string())


def build_boxes(boxes: Sequence[Box | None]) -> pa.Array:
    """Build the column ``crop_px``."""
    return pa.array(boxes, IMAGES.field("crop_px").type)


def require_unique(values: pa.Array, *, what: str, where: Callable[[int], str]) -> None:
    """Refuse a value that stands twice.

    Args:
        what: what a value is, for the message.
        where: names the file and row of a position.

    Raises:
        DataError: with the value and both places.
    """
    codes = pc.dictionary_encode(values)
    codes = (codes.combine_chunks() if isinstance(codes, pa.ChunkedArray) else codes).indices.to_numpy()
    firsts: dict[int, int] = {}
    if len(codes) == 0 or codes.max() + 1 == len(codes):
        return
    for position, code in enumerate(codes.tolist()):
        first = firsts.setdefault(code, position)
        if first != position:
            raise DataError(
                f"{where(position)}: {what} {values[position]} stands already at {where(first)}; keep it once"
            )


def inside(name: str, where: str | Callable[[], str]) -> str:
    """Return a file name from a list, which must stay below the folder it is joined to.

    Args:
        where: the list and row, or what returns them.

    Raises:
        DataError: it is empty, absolute, or climbs with ``..``.
    """
    if _is_plain(name) and ".." not in name:
        return name
    path = PurePosixPath(name.replace("\\", "/"))
    if not path.parts or path.is_absolute() or ".." in path.parts or path.parts[0].endswith(":") or "\0" in name:
        place = where if isinstance(where, str) else where()
        raise DataError(
            f"{place}: the path {name!r} leaves the set's folder; give it relative to that folder, without .."
        )
    return name


def _stamp(path: str, stamp: str) -> str:
    try:
        return stamp_status(os.stat(path)) if stamp == "mtime" else stamp_file(Path(path), stamp)  # noqa: PTH116
    except OSError:
        return MISSING
