"""Any set given as a CSV table of photos.

Training: image_id, path, landmark_id and optionally landmark_name. Evaluation: image_id, path and optionally x0, y0,
x1, y1 (all empty: the whole photo), is_query (1 or 0; without the column every photo is a query) and landmark_id.
Paths are relative to the set's root.
"""

import math
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import DataError
from overlap.base.images import Box
from overlap.datasets.columns import line, parse_integers, read_columns, require_ids, require_match
from overlap.datasets.photos import (
    Progress,
    build_boxes,
    build_images,
    build_landmarks,
    build_training_set,
    inside,
    require_unique,
    stamp_photos,
)
from overlap.datasets.sets import EvaluationSet, PhotoList, TrainingSet

_MEND = "mend the table"
_BOX = ("x0", "y0", "x1", "y1")

_is_number = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?").fullmatch


def read_table_training(
    root: Path, table: str, *, source: str = "csv", stamp: str = "mtime", progress: Progress | None = None
) -> TrainingSet:
    """Read a training set.

    Args:
        root: the folder that paths are relative to.
        table: the CSV file below it.

    Raises:
        DataError: the table is missing, empty or has a bad row: an id twice, a landmark id that is no number, a
            landmark with two names, a path that leaves the root.
    """
    return build_training_set(_read_list(root, table), source=source, stamp=stamp, progress=progress)


def read_table_landmarks(root: Path, table: str) -> pa.Table:
    """Read LANDMARKS from the table alone.

    Raises:
        DataError: as read_table_training.
    """
    return build_landmarks(_read_list(root, table))


def list_table(root: Path, table: str) -> tuple[pa.Array, pa.Array]:
    """Return the ids of the photos and the landmark of each, from the table alone.

    Raises:
        DataError: as read_table_training.
    """
    listed = _read_list(root, table)
    return listed.image_ids, listed.landmark_ids


def read_table_evaluation(root: Path, table: str, *, name: str, stamp: str = "mtime") -> EvaluationSet:
    """Read an evaluation set, without ground truth.

    Raises:
        DataError: the table is missing, has a bad row, or no query.
    """
    path = root / table
    rows = read_columns(path, ["image_id", "path"], optional=(*_BOX, "is_query", "landmark_id"), remedy=_MEND)
    is_query = _read_queries(rows, path)
    images = _build_photos(rows, root, path, name=name, stamp=stamp)
    photos = images.filter(pc.invert(is_query))
    whole = photos.set_column(photos.column_names.index("crop_px"), "crop_px", build_boxes([None] * len(photos)))
    return EvaluationSet(name, images.filter(is_query), whole.cast(images.schema), None)


def _read_list(root: Path, table: str) -> PhotoList:
    path = root / table
    rows = read_columns(path, ["image_id", "path", "landmark_id"], optional=("landmark_name",), remedy=_MEND)
    if rows.num_rows == 0:
        raise DataError(f"{path}: the training set is empty: no row follows the header; {_MEND}")
    landmark_ids = parse_integers(rows["landmark_id"].combine_chunks(), path, name="landmark_id", remedy=_MEND)
    names = _column(rows, "landmark_name")
    _require_one_name(landmark_ids, names, path)
    return PhotoList(_read_ids(rows, path), _read_paths(rows, root, path), landmark_ids, names)


def _build_photos(rows: pa.Table, root: Path, path: Path, *, name: str, stamp: str) -> pa.Table:
    paths = _read_paths(rows, root, path)
    return build_images(
        _read_ids(rows, path),
        paths,
        source=name,
        stamp=stamp_photos(paths, stamp=stamp),
        crop_px=build_boxes(_read_boxes(rows, path)),
        landmark_id=_read_optional_landmarks(rows, path),
    )


def _read_ids(rows: pa.Table, path: Path) -> pa.Array:
    ids = require_ids(rows["image_id"].combine_chunks(), path, name="image_id", remedy=_MEND)
    require_unique(ids, what="image_id", where=lambda row: line(path, row))
    return ids


def _read_paths(rows: pa.Table, root: Path, path: Path) -> pa.Array:
    names = enumerate(rows["path"].to_pylist())
    return pa.array([str(root / inside(name, partial(line, path, row))) for row, name in names], pa.string())


def _require_one_name(landmark_ids: pa.Array, names: pa.Array, path: Path) -> None:
    first: dict[int, str] = {}
    for row, (landmark_id, name) in enumerate(zip(landmark_ids.to_pylist(), names.to_pylist(), strict=True)):
        if first.setdefault(landmark_id, name) != name:
            raise DataError(
                f"{line(path, row)}: landmark {landmark_id} is named {name!r}, but was {first[landmark_id]!r}; {_MEND}"
            )


def _read_queries(rows: pa.Table, path: Path) -> pa.Array:
    if "is_query" not in rows.column_names:
        flags = pa.repeat(pa.scalar(True), rows.num_rows)
    else:
        require_match(rows["is_query"], "^[01]$", path=path, problem=f"is_query is {{!r}}; 1 or 0 is expected; {_MEND}")
        flags = pc.equal(rows["is_query"].combine_chunks(), "1")
    if not pc.any(flags).as_py():
        raise DataError(
            f"{path}: the evaluation set has no queries; give it rows, with is_query 1 where there is that column"
        )
    return flags


def _read_boxes(rows: pa.Table, path: Path) -> list[Box | None]:
    given = [name for name in _BOX if name in rows.column_names]
    if given and len(given) < len(_BOX):
        raise DataError(
            f"{path} row 1: a box has the columns x0, y0, x1 and y1, found only {', '.join(given)}; {_MEND}"
        )
    cells = zip(*(_column(rows, name).to_pylist() for name in _BOX), strict=True)
    return [_parse_box(box, partial(line, path, row)) for row, box in enumerate(cells)]


def _parse_box(cells: tuple[str, ...], where: Callable[[], str]) -> Box | None:
    if not any(cells):
        return None
    # NaN fails every comparison.
    x0, y0, x1, y1 = (float(cell) if _is_number(cell) else math.nan for cell in cells)
    if not (-math.inf < x0 < x1 < math.inf and -math.inf < y0 < y1 < math.inf):
        raise DataError(f"{where()}: {','.join(cells)} is no box x0,y0,x1,y1 with x0 < x1 and y0 < y1; {_MEND}")
    return x0, y0, x1, y1


def _read_optional_landmarks(rows: pa.Table, path: Path) -> pa.Array:
    cells = _column(rows, "landmark_id")
    given = pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells)
    return parse_integers(given, path, name="landmark_id", remedy=_MEND)


def _column(rows: pa.Table, name: str) -> pa.Array:
    """Return a column, empty cells where the table does not have it."""
    if name not in rows.column_names:
        return pa.repeat(pa.scalar(""), rows.num_rows)
    return rows[name].combine_chunks()
