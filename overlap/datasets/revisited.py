"""Revisited Oxford and Paris: ``gnd_NAME.pkl`` with photos in ``jpg/``, and the text ground truth of the classic sets.

Source: github.com/filipradenovic/revisitop; robots.ox.ac.uk/~vgg/data/oxbuildings and parisbuildings.
"""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa

from overlap.base.errors import DataError
from overlap.base.images import Box
from overlap.base.texts import read_lines
from overlap.datasets.photos import build_boxes, build_images, inside, require_unique, stamp_photos
from overlap.datasets.pickles import read_plain_pickle
from overlap.datasets.sets import EvaluationSet, IndexArray, QueryTruth

# Photos of Paris that upstream lists as corrupt; the 6,392 of Paris6k are the 6,412 files without them.
_CORRUPT = """
louvre_000136 louvre_000146 moulinrouge_000422 museedorsay_001059 notredame_000188 pantheon_000284 pantheon_000960
pantheon_000974 pompidou_000195 pompidou_000196 pompidou_000201 pompidou_000467 pompidou_000640 sacrecoeur_000299
sacrecoeur_000330 sacrecoeur_000353 triomphe_000662 triomphe_000833 triomphe_000863 triomphe_000867
"""
CORRUPT_PARIS = frozenset(f"paris_{name}" for name in _CORRUPT.split())

_LABELS = ("easy", "hard", "junk")


@dataclass(frozen=True, eq=False)
class _GroundTruth:
    """What a pickle holds, checked: names without ending, one box and one truth a query."""

    photo_names: list[str]
    query_names: list[str]
    boxes: Sequence[Box | None]
    truths: tuple[QueryTruth, ...]
    classic: bool = False


def read_revisited(root: Path, *, name: str, stamp: str = "mtime", boxes: bool = True) -> EvaluationSet:
    """Read an evaluation set in the layout of revisitop.

    Args:
        root: holds gnd_NAME.pkl and jpg/.
        name: the set's id.
        boxes: read the queries' boxes; without, queries are whole photos, and the pickle needs no ``bbx``.

    Returns:
        The set. The pickles of the classic sets, with ``ok`` for ``easy`` and ``hard``, are read with all of ``ok`` as
        easy, and called classic.

    Raises:
        DataError: the pickle is missing, holds code, or is not of that structure.
    """
    truth = _read_ground_truth(root, name, with_boxes=boxes)
    return _build_set(root, name, truth, stamp)


def list_revisited(root: Path, *, name: str) -> tuple[str, ...]:
    """Return the names of all photos, those of the queries first, without ending; no photo is needed.

    Raises:
        DataError: as read_revisited.
    """
    truth = _read_ground_truth(root, name)
    return (*truth.query_names, *truth.photo_names)


def read_classic(root: Path, *, name: str, stamp: str = "mtime", boxes: bool = True) -> EvaluationSet:
    """Read Oxford5k or Paris6k with its text ground truth.

    Args:
        root: holds LANDMARK_K_query.txt, _good.txt, _ok.txt and _junk.txt, and the photos in jpg/.
        name: the set's id.
        boxes: as for ``read_revisited``.

    Returns:
        The set: ``good`` is easy, ``ok`` is hard, and it is called classic. Queries by landmark and number;
        photos by name, without the 20 corrupt ones of Paris. A query stays in the database, as upstream has it.

    Raises:
        DataError: a file is missing or malformed, or names a photo that is not in jpg/.
    """
    paths = sorted(root.glob("*_query.txt"))
    if not paths:
        raise DataError(f"{root}: no *_query.txt; unpack upstream's ground truth archive there")
    photo_names = sorted(path.stem for path in (root / "jpg").glob("*.jpg") if path.stem not in CORRUPT_PARIS)
    rows = {photo: row for row, photo in enumerate(photo_names)}
    queries = [_read_query(path, with_box=boxes) for path in paths]
    truths = tuple(_read_labels(path, rows) for path in paths)
    crops = [box for _, box in queries]
    truth = _GroundTruth(photo_names, [query for query, _ in queries], crops, truths, classic=True)
    return _build_set(root, name, truth, stamp)


def _build_set(root: Path, name: str, truth: _GroundTruth, stamp: str) -> EvaluationSet:
    queries = _build_rows(root, name, truth.query_names, stamp, boxes=truth.boxes)
    photos = _build_rows(root, name, truth.photo_names, stamp)
    return EvaluationSet(name, queries, photos, truth.truths, truth.classic)


def _build_rows(
    root: Path, source: str, names: Sequence[str], stamp: str, *, boxes: Sequence[Box | None] | None = None
) -> pa.Table:
    paths = pa.array([str(root / "jpg" / f"{name}.jpg") for name in names], pa.string())
    return build_images(
        pa.array(names, pa.string()),
        paths,
        source=source,
        stamp=stamp_photos(paths, stamp=stamp),
        crop_px=build_boxes(boxes or [None] * len(names)),
    )


def _read_ground_truth(root: Path, name: str, *, with_boxes: bool = False) -> _GroundTruth:
    path = root / f"gnd_{name}.pkl"
    content = read_plain_pickle(path, remedy=_remedy(name))
    if not isinstance(content, dict) or not {"imlist", "qimlist", "gnd"} <= content.keys():
        raise DataError(f"{path}: a dict with the keys imlist, qimlist and gnd is expected; {_remedy(name)}")
    photo_names = _check_names(content["imlist"], f"{path} imlist")
    query_names = _check_names(content["qimlist"], f"{path} qimlist")
    entries = content["gnd"]
    if not isinstance(entries, list) or len(entries) != len(query_names):
        raise DataError(f"{path} gnd: a list of one dict for each of the {len(query_names)} queries is expected")
    if not query_names:
        raise DataError(f"{path}: the evaluation set has no queries; {_remedy(name)}")
    where = [f"{path} gnd[{row}] ({query})" for row, query in enumerate(query_names)]
    pairs = list(zip(entries, where, strict=True))
    truths = tuple(_check_truth(entry, len(photo_names), place) for entry, place in pairs)
    boxes = [_check_box(entry, place) if with_boxes else None for entry, place in pairs]
    return _GroundTruth(photo_names, query_names, boxes, truths, classic=all(map(_is_classic, entries)))


def _check_names(names: Any, where: str) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{where}: a list of photo names is expected")
    for row, name in enumerate(names):
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"{where}[{row}]: the name {name!r} is no text that UTF-8 can hold; fetch the list again")
    checked = [inside(name, f"{where}[{row}]") for row, name in enumerate(names)]
    require_unique(pa.array(checked, pa.string()), what="photo", where=lambda row: f"{where}[{row}]")
    return checked


def _check_box(entry: dict[str, Any], where: str) -> Box:
    box = entry.get("bbx")
    if not isinstance(box, list | tuple) or len(box) != 4 or not all(_is_number(value) for value in box):
        raise DataError(f"{where}: 'bbx' must be four finite numbers x0 y0 x1 y1, found {reprlib.repr(box)[:100]}")
    return _require_box(*map(float, box), where=where)


def _require_box(x0: float, y0: float, x1: float, y1: float, *, where: str) -> Box:
    if not (all(map(math.isfinite, (x0, y0, x1, y1))) and x0 < x1 and y0 < y1):
        raise DataError(f"{where}: the box {x0:g} {y0:g} {x1:g} {y1:g} is empty; x0 < x1 and y0 < y1 are expected")
    return x0, y0, x1, y1


def _check_truth(entry: Any, n_photos: int, where: str) -> QueryTruth:
    if not isinstance(entry, dict):
        raise DataError(f"{where}: a dict with easy, hard and junk is expected, found {reprlib.repr(entry)[:100]}")
    if _is_classic(entry):
        entry = {"easy": entry["ok"], "hard": [], "junk": entry.get("junk", [])}
    labels = [_check_indices(entry.get(label), n_photos, f"{where}: {label!r}") for label in _LABELS]
    if len(np.unique(np.concatenate(labels))) < sum(map(len, labels)):
        raise DataError(f"{where}: a photo stands twice in easy, hard and junk; each photo has one label")
    return QueryTruth(*labels)


def _is_classic(entry: dict[str, Any]) -> bool:
    return "ok" in entry and "easy" not in entry


def _check_indices(indices: Any, n_photos: int, where: str) -> IndexArray:
    if not isinstance(indices, list) or not all(type(index) is int and 0 <= index < n_photos for index in indices):
        raise DataError(f"{where} must be a list of positions in imlist, from 0 to {n_photos - 1}")
    return np.array(indices, np.int64)


def _is_number(value: Any) -> TypeGuard[float]:
    return (type(value) is int and abs(value) < 2**53) or (type(value) is float and math.isfinite(value))


def _read_query(path: Path, *, with_box: bool) -> tuple[str, Box | None]:
    words = _read_lines(path)[:1]
    name, *numbers = words[0].split() if words else [""]
    if name and not with_box:
        return inside(name.removeprefix("oxc1_"), f"{path} row 1"), None
    try:
        x0, y0, x1, y1 = map(float, numbers)
    except ValueError:
        raise DataError(f"{path} row 1: a photo name and four numbers are expected, found {words!r}") from None
    return inside(name.removeprefix("oxc1_"), f"{path} row 1"), _require_box(x0, y0, x1, y1, where=f"{path} row 1")


def _read_labels(query_path: Path, rows: dict[str, int]) -> QueryTruth:
    stem = query_path.name.removesuffix("_query.txt")
    return QueryTruth(
        *(_read_rows(query_path.with_name(f"{stem}_{label}.txt"), rows) for label in ("good", "ok", "junk"))
    )


def _read_rows(path: Path, rows: dict[str, int]) -> IndexArray:
    names = [name.strip() for name in _read_lines(path)]
    for number, name in enumerate(names, start=1):
        if name not in rows and name not in CORRUPT_PARIS:
            raise DataError(f"{path} row {number}: photo {name!r} is not in jpg/; unpack all photos there, flat")
    return np.array(sorted(rows[name] for name in names if name in rows), np.int64)


def _read_lines(path: Path) -> list[str]:
    try:
        return read_lines(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error}); unpack upstream's ground truth archive again") from None


def _remedy(name: str) -> str:
    return f"fetch it again with 'overlap download {name}', or mend root and name of the evaluation set"
