"""Google Landmarks v2, version 2.1: ``train_clean.csv`` and its companions, photos unpacked or in the 500 archives.

Layout below the root: train_clean.csv; optionally train.csv and train_label_to_category.csv; photos as
train/a/b/c/ID.jpg (a b c are the id's first characters) or in images_000.tar to images_499.tar, or some here and some
there. Where each photo lies unpacked, archives are not looked at; else a photo that an archive holds is read from it.

Source: github.com/cvdfoundation/google-landmark.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import DataError
from overlap.base.tables import LANDMARKS, checked
from overlap.datasets.archives import join_archives
from overlap.datasets.columns import line, parse_integers, read_columns, require_match
from overlap.datasets.photos import Progress, build_images, require_unique, stamp_photos
from overlap.datasets.sets import TrainingSet

_FETCH = "fetch it again with 'overlap download gldv2'"
_ID = r"^[0-9a-f]{16}$"


@dataclass(frozen=True, eq=False)
class _CleanList:
    """Rows of train_clean.csv: L landmarks, and N photos landmark by landmark."""

    landmark_ids: pa.Array
    counts: pa.Array
    image_ids: pa.Array


def read_gldv2(
    root: Path,
    *,
    source: str = "gldv2",
    stamp: str = "mtime",
    archives: Mapping[Path, pa.Table] = MappingProxyType({}),
    progress: Progress | None = None,
) -> TrainingSet:
    """Read the clean training set.

    Args:
        root: the folder that holds train_clean.csv.
        source: the set's name in IMAGES.
        archives: indexes by archive, as index_archive returns them; a photo that is in none is looked for as a file.

    Raises:
        DataError: a list is missing or has a bad row, or a photo is in two archives.
    """
    clean = _read_clean(root)
    landmarks = _build_landmarks(root, clean)
    owners = _owners(clean)
    paths = photo_paths(root, clean.image_ids)
    places = join_archives(clean.image_ids, archives, stamp=stamp, progress=progress)
    images = build_images(
        clean.image_ids,
        paths,
        source=source,
        landmark_id=clean.landmark_ids.take(owners),
        landmark_name=landmarks["landmark_name"].combine_chunks().take(owners),
        archive=places["archive"],
        offset=places["offset"],
        size=places["size"],
        stamp=_stamp_loose(places["stamp"].combine_chunks(), paths, stamp, progress),
    )
    return TrainingSet(images, landmarks)


def read_gldv2_landmarks(root: Path) -> pa.Table:
    """Read LANDMARKS from the lists alone; without train_label_to_category.csv the names are empty.

    Raises:
        DataError: a list has a bad row.
    """
    return _build_landmarks(root, _read_clean(root))


def list_gldv2(root: Path) -> tuple[pa.Array, pa.Array]:
    """Return the ids of the photos and the landmark of each, from train_clean.csv alone.

    Raises:
        DataError: the list is missing or has a bad row.
    """
    clean = _read_clean(root)
    return clean.image_ids, clean.landmark_ids.take(_owners(clean))


def gldv2_files(root: Path) -> tuple[Path, ...]:
    """Return the lists that have a landmark_id column, train_clean.csv first, then those that are there."""
    others = (root / "train.csv", root / "train_label_to_category.csv")
    return (root / "train_clean.csv", *(path for path in others if path.is_file()))


def gldv2_archives(root: Path) -> tuple[Path, ...]:
    """Return images_*.tar in the root and in root/train, by name; none where all listed photos lie unpacked.

    A compressed one is among them, to be refused, unless it stands there without its compression too.
    """
    found = [path for folder in (root, root / "train") for path in folder.glob("images_*") if _is_archive(path)]
    plain = {path for path in found if path.suffix == ".tar"}
    found = [path for path in found if path in plain or path.with_name(path.name.split(".")[0] + ".tar") not in plain]
    return () if found and _is_unpacked(root) else tuple(sorted(found, key=lambda path: (path.name, path)))


def photo_paths(root: Path, image_ids: pa.Array) -> pa.Array:
    """Return root/train/a/b/c/ID.jpg for each id."""
    folders = [pc.utf8_slice_codeunits(image_ids, start, start + 1) for start in range(3)]
    return pc.binary_join_element_wise(
        str(root / "train"), *folders, pc.binary_join_element_wise(image_ids, ".jpg", ""), "/"
    )


def landmark_name(category: str) -> str:
    """Return the readable name of a Wikimedia category address: what follows ``Category:``, decoded."""
    last = category.rsplit("Category:", 1)[-1] if "Category:" in category else category.rsplit("/", 1)[-1]
    return " ".join(unquote(last).replace("_", " ").split())


def _is_archive(path: Path) -> bool:
    packed = r"\.(tar(\.(gz|bz2|xz|zst|lz4|lz|lzma|Z))?|tgz|tbz2?|txz|tzst|zip|7z|rar)$"
    return re.search(packed, path.name, re.IGNORECASE) is not None


def _is_unpacked(root: Path) -> bool:
    if not any((root / "train" / digit).is_dir() for digit in "0123456789abcdef"):
        return False
    try:
        paths = photo_paths(root, _read_clean(root).image_ids).to_pylist()
    except DataError:
        return True  # read_gldv2 refuses the list: no need to look into archives first
    return all(map(os.path.exists, paths))


def _read_clean(root: Path) -> _CleanList:
    path = root / "train_clean.csv"
    table = read_columns(path, ["landmark_id", "images"], remedy=_FETCH)
    if table.num_rows == 0:
        raise DataError(f"{path}: the training set is empty: no row follows the header; {_FETCH}")
    landmark_ids = parse_integers(table["landmark_id"].combine_chunks(), path, name="landmark_id", remedy=_FETCH)
    require_unique(landmark_ids, what="landmark_id", where=lambda row: line(path, row))
    require_match(table["images"], ".", path=path, problem=f"the list of images is empty; {_FETCH}")
    lists = pc.split_pattern(table["images"].combine_chunks(), " ")
    image_ids = lists.flatten()
    _check_ids(path, image_ids, lists.offsets.to_numpy())
    return _CleanList(landmark_ids, pc.list_value_length(lists).cast(pa.int64()), image_ids)


def _owners(clean: _CleanList) -> pa.Array:
    """Return the row of each photo's landmark."""
    return pa.array(np.repeat(np.arange(len(clean.counts)), clean.counts.to_numpy()))


def _check_ids(path: Path, image_ids: pa.Array, offsets: np.ndarray) -> None:
    def where(position: int) -> str:
        return line(path, int(np.searchsorted(offsets, position, side="right")) - 1)

    position = pc.index(pc.match_substring_regex(image_ids, _ID), False).as_py()
    if position >= 0:
        raise DataError(
            f"{where(position)}: {image_ids[position].as_py()!r} is not an image id: 16 characters of 0-9 and a-f, "
            f"separated by single blanks, are expected; {_FETCH}"
        )
    require_unique(image_ids, what="image id", where=where)


def _build_landmarks(root: Path, clean: _CleanList) -> pa.Table:
    columns = [clean.landmark_ids, _read_names(root, clean.landmark_ids), clean.counts]
    return checked(pa.table(columns, names=LANDMARKS.names), LANDMARKS)


def _read_names(root: Path, landmark_ids: pa.Array) -> pa.Array:
    path = root / "train_label_to_category.csv"
    if not path.is_file():
        return pa.repeat(pa.scalar(""), len(landmark_ids))
    table = read_columns(path, ["landmark_id", "category"], remedy=_FETCH)
    known = parse_integers(table["landmark_id"].combine_chunks(), path, name="landmark_id", remedy=_FETCH)
    require_unique(known, what="landmark_id", where=lambda row: line(path, row))
    categories = table["category"].combine_chunks().take(pc.index_in(landmark_ids, known))
    return pa.array([landmark_name(category or "") for category in categories.to_pylist()], pa.string())


def _stamp_loose(stamps: pa.Array, paths: pa.Array, stamp: str, progress: Progress | None) -> pa.Array:
    """Fill the stamps of photos that no archive holds."""
    loose = pc.is_null(stamps)
    return pc.replace_with_mask(stamps, loose, stamp_photos(paths.filter(loose), stamp=stamp, progress=progress))
