"""What a reader returns: a training set, or an evaluation set with its ground truth."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

IndexArray: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PhotoList:
    """Hold a training set's list of photos, as columns of N values."""

    image_ids: pa.Array
    paths: pa.Array
    landmark_ids: pa.Array
    landmark_names: pa.Array


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """Hold a training set.

    Args:
        images: IMAGES, one row a photo, in the upstream file's order.
        landmarks: LANDMARKS, in the upstream file's order, or of first appearance where it lists photos.
    """

    images: pa.Table
    landmarks: pa.Table


@dataclass(frozen=True, eq=False)
class QueryTruth:
    """Hold which database photos show the landmark of one query, as row numbers of ``EvaluationSet.photos``.

    Args:
        easy: photos that show it clearly.
        hard: photos that show it, with difficulty.
        junk: photos that count neither way.
    """

    easy: IndexArray
    hard: IndexArray
    junk: IndexArray


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Hold an evaluation set.

    Args:
        name: its id in every table.
        queries: IMAGES with ``crop_px``.
        photos: IMAGES of the database, in ground-truth order: the row number is the ground-truth index.
        ground_truth: one value a query in the order of ``queries``; None for a set given as a table.
        classic: whether it has the one protocol of Oxford5k and Paris6k, instead of easy, medium and hard.
    """

    name: str
    queries: pa.Table
    photos: pa.Table
    ground_truth: tuple[QueryTruth, ...] | None
    classic: bool = False
