"""NC-clean (Landmarks-clean): ``annotation_clean_train.txt``, a line a photo; its photos are not distributed.

A line is: address, class, x1, x2, y1, y2, separated by single blanks. The class is the landmark. The box is checked,
because only third parties say in what order it is, and not used: training photos are used whole.

Source: europe.naverlabs.com, "Deep Image Retrieval"; the order of the box from third-party readers.
"""

import hashlib
import re
from pathlib import Path

import pyarrow as pa

from overlap.base.errors import DataError
from overlap.base.tables import LANDMARK_ID
from overlap.base.texts import read_lines
from overlap.datasets.photos import Progress, build_landmarks, build_training_set, require_unique
from overlap.datasets.sets import PhotoList, TrainingSet

_LIST = "annotation_clean_train.txt"

_is_line = re.compile(rf"[^ ]+ {LANDMARK_ID}( -?[0-9]{{1,9}}){{4}}").fullmatch


def read_nc_clean(
    root: Path, *, source: str = "nc_clean", stamp: str = "mtime", progress: Progress | None = None
) -> TrainingSet:
    """Read the training set.

    Args:
        root: holds annotation_clean_train.txt, and the photos that could be fetched as images/IMAGE_ID.jpg.

    Raises:
        DataError: the list is missing, empty or has a bad line, or an address stands twice.
    """
    return build_training_set(_read_list(root), source=source, stamp=stamp, progress=progress)


def read_nc_clean_landmarks(root: Path) -> pa.Table:
    """Read LANDMARKS from the list alone; names are empty.

    Raises:
        DataError: as read_nc_clean.
    """
    return build_landmarks(_read_list(root))


def list_nc_clean(root: Path) -> tuple[pa.Array, pa.Array]:
    """Return the ids of the photos and the landmark of each, from the list alone.

    Raises:
        DataError: as read_nc_clean.
    """
    listed = _read_list(root)
    return listed.image_ids, listed.landmark_ids


def nc_clean_id(url: str) -> str:
    """Return a photo's id: the first 16 hex digits of the SHA-256 of its address, for upstream gives it none."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def _read_list(root: Path) -> PhotoList:
    path = root / _LIST
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: can't be read ({error}); fetch the list again, or set train.root to its folder"
        ) from None
    if not lines:
        raise DataError(f"{path}: the training set is empty; fetch the list again")
    rows = [_parse_line(text, f"{path} row {number}") for number, text in enumerate(lines, start=1)]
    ids = pa.array([nc_clean_id(url) for url, _ in rows], pa.string())
    require_unique(ids, what="the address with id", where=lambda row: f"{path} row {row + 1}")
    paths = pa.array([str(root / "images" / f"{image_id}.jpg") for image_id in ids.to_pylist()], pa.string())
    return PhotoList(ids, paths, pa.array([label for _, label in rows], pa.int64()), pa.repeat(pa.scalar(""), len(ids)))


def _parse_line(text: str, where: str) -> tuple[str, int]:
    if not _is_line(text):
        raise DataError(
            f"{where}: an address, a class and a box x1 x2 y1 y2 are expected, found {text!r}; mend or delete the line"
        )
    url, *numbers = text.split(" ")
    label, x1, x2, y1, y2 = map(int, numbers)
    if not (x1 < x2 and y1 < y2):
        raise DataError(
            f"{where}: the box {x1} {x2} {y1} {y2} does not read as x1 x2 y1 y2; bring its numbers into that order"
        )
    return url, label
