"""The figures of a release that follow from its removal list, and whether it says them right."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from overlap.errors import DataError
from overlap.manifests.columnar import REASONED
from overlap.sheets import read_rows
from overlap.tables import as_table, parse_landmark_id

TEXT, TOTAL = "TEXT", "TOTAL"

# Landmarks that were confirmed as a whole are counted by what brought them up.
_WHOLE = frozenset({"text", "closure", "audit"})
_OVERLAP_COLUMNS = ("name", "n_queries", "n_duplicated", "n_landmarks", "n_images")
_SIZES_COLUMNS = ("name", "n_images", "n_categories")


def read_list(path: Path) -> dict[int, str]:
    """Return what a release's removals.csv says of each landmark's number of images.

    Raises:
        DataError: it is no CSV with these columns.
        ValueError: a landmark_id is none, or there twice.
    """
    rows = [
        (parse_landmark_id(landmark_id), n_images)
        for _, (landmark_id, n_images) in read_rows(path, ("landmark_id", "n_images"))
    ]
    listed = dict(rows)
    if len(listed) < len(rows):
        raise ValueError("a landmark_id is there twice")
    return listed


def removals_table(path: Path) -> pa.Table:
    """Read a release's removals.csv.

    Raises:
        DataError: it is no CSV with the columns of REASONED, or a cell does not fit its column.
        ValueError: a number is none.
    """
    rows = [_typed(cells) for _, cells in read_rows(path, REASONED.names)]
    return as_table(rows, REASONED)


def _typed(cells: list[str]) -> dict[str, object]:
    row: dict[str, object] = {}
    for column, cell in zip(REASONED, cells, strict=True):
        number, several = pa.types.is_int64(column.type), pa.types.is_list(column.type)
        row[column.name] = int(cell) if number else cell.split() if several else cell
    return row


def overlap_rows(folder: Path, said: Mapping[str, Any]) -> dict[str, tuple[int | None, ...]]:
    """Count Table 2 anew from removals.csv: queries, duplicated queries, landmarks and images by evaluation set.

    Returns:
        A row an evaluation set in the order of release.json, then TEXT, then CLOSURE and AUDIT if there is any, then
        TOTAL. Queries are those that release.json says: no list holds them.
    """
    sets = said.get("evaluation_sets") or {}
    counted = {name: [0, 0] for name in (*sets, TEXT)}
    for _, (name, origin, n_images) in read_rows(folder / "removals.csv", ("evaluation_set", "origin", "n_images")):
        row = counted.setdefault(origin.upper() if origin in _WHOLE else name, [0, 0])
        row[0], row[1] = row[0] + 1, row[1] + int(n_images)
    queries = {name: (figures["queries"], figures["duplicated_queries"]) for name, figures in sets.items()}
    rows: dict[str, tuple[int | None, ...]] = {
        name: (*queries.get(name, (None, None)), *counts) for name, counts in counted.items()
    }
    return rows | {TOTAL: tuple(sum(row[place] or 0 for row in rows.values()) for place in range(4))}


def size_rows(said: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return Table 3, images and landmarks, of the upstream's and the release's first file; nothing without figures."""
    counted = [figures for figures in said["files"].values() if figures.get("counted")]
    return [(figures[f"images_{way}"], figures[f"rows_{way}"]) for figures in counted[:1] for way in ("in", "out")]


def table_findings(folder: Path, said: Mapping[str, Any]) -> list[str]:
    """Compare table2.csv and table3.csv, where a release has them, with what follows from its list and its figures."""
    findings = []
    try:
        if (folder / "table2.csv").is_file():
            rows = {cells[0]: tuple(cells[1:]) for _, cells in read_rows(folder / "table2.csv", _OVERLAP_COLUMNS)}
            findings += _compare(
                "table2.csv", rows, {name: _text(row) for name, row in overlap_rows(folder, said).items()}
            )
        if (folder / "table3.csv").is_file():
            sizes = [tuple(cells[1:]) for _, cells in read_rows(folder / "table3.csv", _SIZES_COLUMNS)]
            expected = map(_text, size_rows(said))
            findings += _compare("table3.csv", dict(enumerate(sizes)), dict(enumerate(expected)))
    except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
        findings.append(f"Table 2 or 3 can't be checked: {error}")
    return findings


def _compare(name: str, found: Mapping[Any, object], expected: Mapping[Any, object]) -> list[str]:
    return [
        f"{name} row {row!r} says {found.get(row)}, removals.csv and release.json give {expected.get(row)}"
        for row in {**expected, **found}
        if found.get(row) != expected.get(row)
    ]


def _text(row: tuple[int | None, ...]) -> tuple[str, ...]:
    return tuple("" if cell is None else str(cell) for cell in row)
