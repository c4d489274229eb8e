"""Which photos of a version are trained on, and which are held out to see how the training goes."""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overlap.pipeline.decoded import Decoded

if TYPE_CHECKING:
    from overlap.study.training.reading import Photos

# Held-out photos a landmark, and how many a landmark must have to give them.
_HELD_OUT, _LEAST = 2, 4


@dataclass(frozen=True, eq=False)
class Split:
    """Hold what is trained on, what is held out, and the landmarks in the order of their labels."""

    photos: "Photos"
    held_out: "Photos"
    landmark_ids: tuple[int, ...]


def hold_out(base: pa.Table, n_landmarks: int) -> set[str]:
    """Choose the photos that no version is trained on; landmarks and photos are chosen by the hash of their ids."""
    if not n_landmarks:
        return set()
    counts = pc.value_counts(base["landmark_id"])
    large = [each["values"] for each in counts.to_pylist() if each["counts"] >= _LEAST]
    chosen = sorted(large, key=_hash)[:n_landmarks]
    photos = base.filter(pc.is_in(base["landmark_id"], pa.array(chosen, pa.int64())))
    by_landmark: dict[int, list[str]] = {}
    for image_id, landmark_id in zip(photos["image_id"].to_pylist(), photos["landmark_id"].to_pylist(), strict=True):
        by_landmark.setdefault(landmark_id, []).append(image_id)
    return {image_id for ids in by_landmark.values() for image_id in sorted(ids, key=_hash)[:_HELD_OUT]}


def _hash(value: object) -> str:
    return sha256(str(value).encode()).hexdigest()


def split_photos(images: pa.Table, decoded: Decoded, *, held_out: Collection[str]) -> Split:
    """Split the readable photos of a version, and number the landmarks that are trained on by their ids.

    Args:
        images: IMAGES of the version.
        decoded: its readable photos.
        held_out: ids of photos that are not trained on.
    """
    images = images.take(decoded.rows)
    landmarks = images["landmark_id"].to_numpy()
    is_held = np.array([image_id in held_out for image_id in images["image_id"].to_pylist()], dtype=bool)
    trained, held = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    pairs = [row for row in held if np.count_nonzero(landmarks[held] == landmarks[row]) > 1]
    landmark_ids, labels = np.unique(landmarks[trained], return_inverse=True)
    return Split(
        _part(decoded, trained, labels.astype(np.int64)),
        _part(decoded, np.array(pairs, dtype=np.int64), landmarks[pairs]),
        tuple(landmark_ids.tolist()),
    )


def _part(decoded: Decoded, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> "Photos":
    from overlap.study.training.reading import Photos

    return Photos(labels, decoded.groups[rows], decoded.sizes, lambda chosen, size: decoded.load(rows[chosen], size))
