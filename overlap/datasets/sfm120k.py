"""SfM-120k: ``retrieval-SfM-120k.pkl`` with photos in ``ims/``. It has no landmarks: a 3D model stands for one.

Source: github.com/filipradenovic/cnnimageretrieval-pytorch.
"""

import re
import reprlib
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from overlap.base.errors import DataError
from overlap.datasets.photos import Progress, build_landmarks, build_training_set, require_unique
from overlap.datasets.pickles import read_plain_pickle
from overlap.datasets.sets import PhotoList, TrainingSet

_FETCH = "fetch it again from the address that cnnimageretrieval-pytorch gives"


def read_sfm120k(
    root: Path,
    *,
    source: str = "sfm120k",
    split: Literal["train", "val"] = "train",
    stamp: str = "mtime",
    progress: Progress | None = None,
) -> TrainingSet:
    """Read one split; ``train`` has 91,642 photos.

    Args:
        root: holds retrieval-SfM-120k.pkl and ims/.
        split: ``train`` or ``val``.

    Returns:
        The set. The image id is the content id (cid), the landmark id the 3D model (cluster); names are empty.

    Raises:
        DataError: the pickle is missing, holds code, or is not of that structure.
    """
    return build_training_set(_read_split(root, split), source=source, stamp=stamp, progress=progress)


def read_sfm120k_landmarks(root: Path, *, split: Literal["train", "val"] = "train") -> pa.Table:
    """Read LANDMARKS from the pickle alone.

    Raises:
        DataError: as read_sfm120k.
    """
    return build_landmarks(_read_split(root, split))


def list_sfm120k(root: Path, *, split: Literal["train", "val"] = "train") -> tuple[pa.Array, pa.Array]:
    """Return the ids of the photos and the landmark of each, from the pickle alone.

    Raises:
        DataError: as read_sfm120k.
    """
    listed = _read_split(root, split)
    return listed.image_ids, listed.landmark_ids


def cid_path(cid: str) -> str:
    """Return where below ims/ a content id lies: its last three pairs of characters, last first."""
    return f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"


def _read_split(root: Path, split: str) -> PhotoList:
    path = root / "retrieval-SfM-120k.pkl"
    content = read_plain_pickle(path, remedy=_FETCH)
    lists = content.get(split) if isinstance(content, dict) else None
    if not isinstance(lists, dict):
        raise DataError(f"{path}: a dict with the keys train and val is expected; {_FETCH}")
    cids = _check_cids(lists.get("cids"), f"{path} {split} cids")
    clusters = lists.get("cluster")
    if not isinstance(clusters, list) or len(clusters) != len(cids) or not all(map(_is_landmark_id, clusters)):
        raise DataError(
            f"{path} {split} cluster: a list of {len(cids)} whole numbers from 0, one a cid, is expected; {_FETCH}"
        )
    paths = [str(root / "ims" / cid_path(cid)) for cid in cids]
    names = pa.repeat(pa.scalar(""), len(cids))
    return PhotoList(pa.array(cids, pa.string()), pa.array(paths, pa.string()), pa.array(clusters, pa.int64()), names)


def _check_cids(cids: Any, where: str) -> list[str]:
    if not isinstance(cids, list) or not cids:
        raise DataError(f"{where}: a list of content ids is expected, and the training set must not be empty; {_FETCH}")
    for row, cid in enumerate(cids):
        if not isinstance(cid, str) or not re.fullmatch(r"[0-9A-Za-z]{6,}", cid):
            raise DataError(
                f"{where}[{row}]: {reprlib.repr(cid)} is not a content id: 6 or more letters and digits; {_FETCH}"
            )
    require_unique(pa.array(cids, pa.string()), what="photo", where=lambda row: f"{where}[{row}]")
    return cids


def _is_landmark_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 10**18
