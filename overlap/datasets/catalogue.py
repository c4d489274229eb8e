"""The formats a config can name, and the one place that chooses among them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias

import pyarrow as pa

from overlap.base.config import EvaluationConfig, TrainConfig
from overlap.base.errors import ConfigError
from overlap.datasets.gldv2 import gldv2_archives, gldv2_files, list_gldv2, read_gldv2, read_gldv2_landmarks
from overlap.datasets.nc_clean import list_nc_clean, read_nc_clean, read_nc_clean_landmarks
from overlap.datasets.photos import MISSING, Progress
from overlap.datasets.revisited import read_revisited
from overlap.datasets.sets import EvaluationSet, QueryTruth, TrainingSet
from overlap.datasets.sfm120k import list_sfm120k, read_sfm120k, read_sfm120k_landmarks
from overlap.datasets.table import (
    list_table,
    read_table_evaluation,
    read_table_landmarks,
    read_table_training,
)

__all__ = [
    "MISSING",
    "EvaluationSet",
    "Progress",
    "QueryTruth",
    "TrainingSet",
    "list_archives",
    "list_photos",
    "read_evaluation_set",
    "read_landmarks",
    "read_training_set",
    "upstream_files",
]

_GLDV2 = frozenset({"gldv2", "synthetic"})

_Landmarks: TypeAlias = Callable[[TrainConfig], pa.Table]
_Photos: TypeAlias = Callable[[TrainConfig], tuple[pa.Array, pa.Array]]
_Training: TypeAlias = Callable[[TrainConfig, Progress | None], TrainingSet]

_LANDMARKS: Mapping[str, _Landmarks] = MappingProxyType(
    {
        "gldv2": lambda config: read_gldv2_landmarks(_root(config)),
        "synthetic": lambda config: read_gldv2_landmarks(_root(config)),
        "sfm120k": lambda config: read_sfm120k_landmarks(config.root),
        "nc_clean": lambda config: read_nc_clean_landmarks(config.root),
        "csv": lambda config: read_table_landmarks(config.root, config.table),
    }
)

_PHOTOS: Mapping[str, _Photos] = MappingProxyType(
    {
        "gldv2": lambda config: list_gldv2(_root(config)),
        "synthetic": lambda config: list_gldv2(_root(config)),
        "sfm120k": lambda config: list_sfm120k(config.root),
        "nc_clean": lambda config: list_nc_clean(config.root),
        "csv": lambda config: list_table(config.root, config.table),
    }
)

_TRAINING: Mapping[str, _Training] = MappingProxyType(
    {
        "sfm120k": lambda config, progress: read_sfm120k(config.root, stamp=config.stamp, progress=progress),
        "nc_clean": lambda config, progress: read_nc_clean(config.root, stamp=config.stamp, progress=progress),
        "csv": lambda config, progress: read_table_training(
            config.root, config.table, stamp=config.stamp, progress=progress
        ),
    }
)


def read_landmarks(config: TrainConfig) -> pa.Table:
    """Read LANDMARKS from the set's lists; no photo is needed.

    Raises:
        DataError: a list is missing or has a bad row.
    """
    return _LANDMARKS[config.format](config)


def list_photos(config: TrainConfig) -> tuple[pa.Array, pa.Array]:
    """Return the ids of all training photos and the landmark of each, from the set's lists; no photo is needed.

    Raises:
        DataError: a list is missing or has a bad row.
    """
    return _PHOTOS[config.format](config)


def read_training_set(
    config: TrainConfig,
    *,
    archives: Mapping[Path, pa.Table] = MappingProxyType({}),
    progress: Progress | None = None,
) -> TrainingSet:
    """Read a training set; a photo that is listed but absent gets the stamp ``missing``.

    Args:
        archives: what index_archive returned for each of list_archives.
        progress: called with the number of photos looked at since the last call.

    Raises:
        DataError: a list is missing or has a bad row.
    """
    if config.format not in _GLDV2:
        return _TRAINING[config.format](config, progress)
    return read_gldv2(_root(config), source=config.format, stamp=config.stamp, archives=archives, progress=progress)


def list_archives(config: TrainConfig) -> tuple[Path, ...]:
    """Return the tar archives that hold the photos; none when they are unpacked or the format has no archives."""
    return gldv2_archives(_root(config)) if config.format in _GLDV2 else ()


def read_evaluation_set(config: EvaluationConfig, *, boxes: bool = True) -> EvaluationSet:
    """Read an evaluation set; a photo that is listed but absent gets the stamp ``missing``.

    Args:
        boxes: as for ``read_revisited``.

    Raises:
        DataError: the ground truth is missing or malformed, or there is no query.
    """
    if config.format == "csv":
        return read_table_evaluation(config.root, config.table, name=config.name, stamp=config.stamp)
    return read_revisited(_root(config), name=config.name, stamp=config.stamp, boxes=boxes)


def upstream_files(config: TrainConfig) -> tuple[Path, ...]:
    """Return the lists with a column landmark_id, which a release filters, the one that counts first.

    Raises:
        ConfigError: the format has no such list.
    """
    if config.format in _GLDV2:
        return gldv2_files(_root(config))
    if config.format == "csv":
        return (config.root / config.table,)
    raise ConfigError(
        f'train.format "{config.format}" has no list with a landmark_id to filter; export the set as a table '
        'image_id,path,landmark_id and set train.format = "csv" to publish it'
    )


def _root(config: TrainConfig | EvaluationConfig) -> Path:
    """Return the set's own folder: a synthetic world holds its training set and its evaluation sets side by side."""
    if config.format != "synthetic":
        return config.root
    return config.root / (config.name if isinstance(config, EvaluationConfig) else "gldv2")
