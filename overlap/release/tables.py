"""The figures of a release that follow from its removal list, and whether it says them right."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from overlap.base.errors import DataError
from overlap.base.sheets import read_header, read_rows
from overlap.base.tables import WHOLE_ORIGINS, as_table, parse_landmark_id
from overlap.release.columnar import REASONED
from overlap.release.records import read_records

TEXT, TOTAL = "TEXT", "TOTAL"

# Landmarks that were confirmed as a whole are counted by what brought them up.
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
    """Read a release's removals.csv; older ones do not say what was not asked, and lack these columns.

    Raises:
        DataError: it is no CSV with the columns of REASONED, or a cell does not fit its column.
        ValueError: a number is none.
    """
    _, header = read_header(path)
    schema = pa.schema([column for column in REASONED if column.name in header or not column.nullable])
    rows = [_typed(cells, schema) for _, cells in read_rows(path, schema.names)]
    return as_table(rows, schema)


def _typed(cells: list[str], schema: pa.Schema) -> dict[str, object]:
    row: dict[str, object] = {}
    for column, cell in zip(schema, cells, strict=True):
        number, several = pa.types.is_int64(column.type), pa.types.is_list(column.type)
        unknown = number and column.nullable and not cell
        row[column.name] = None if unknown else int(cell) if number else cell.split() if several else cell
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
        row = counted.setdefault(origin.upper() if origin in WHOLE_ORIGINS else name, [0, 0])
        row[0], row[1] = row[0] + 1, row[1] + int(n_images)
    queries = {name: (figures["queries"], figures["duplicated_queries"]) for name, figures in sets.items()}
    rows: dict[str, tuple[int | None, ...]] = {
        name: (*queries.get(name, (None, None)), *counts) for name, counts in counted.items()
    }
    return rows | {TOTAL: tuple(sum(row[place] or 0 for row in rows.values()) for place in range(4))}


def _not_asked(said: Mapping[str, Any]) -> dict[str, str]:
    """Return the queries that nobody was asked about to the end, as text, by evaluation set and in all.

    Nothing for a release of an older version, which did not count them.
    """
    counted = {name: figures.get("not_asked_queries") for name, figures in (said.get("evaluation_sets") or {}).items()}
    if None in counted.values() or not counted:
        return {}
    return {**{name: str(n) for name, n in counted.items()}, TOTAL: str(sum(counted.values()))}


def size_rows(folder: Path, said: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Return Table 3, images and landmarks, of the upstream's and the release's first file; nothing without figures.

    Raises:
        DataError: the release is of an older version, which did not count landmarks, and its first file is not sound.
    """
    counted = [name for name, figures in said["files"].items() if figures.get("counted")]
    return [row for name in counted[:1] for row in _sizes(folder / name, said)]


def _sizes(path: Path, said: Mapping[str, Any]) -> list[tuple[int, int]]:
    figures = said["files"][path.name]
    if "landmarks_in" not in figures:
        n_kept = len({record.landmark_id for record in read_records(path)} - {None})
        figures = {**figures, "landmarks_in": n_kept + said["removals"]["landmarks"], "landmarks_out": n_kept}
    return [(figures[f"images_{way}"], figures[f"landmarks_{way}"]) for way in ("in", "out")]


def table_findings(folder: Path, said: Mapping[str, Any]) -> list[str]:
    """Compare table2.csv and table3.csv, where a release has them, with what follows from its list and its figures."""
    findings = []
    try:
        if (folder / "table2.csv").is_file():
            counted = {name: _text(row) for name, row in overlap_rows(folder, said).items()}
            columns = list(_OVERLAP_COLUMNS)
            if not_asked := _not_asked(said):
                columns.append("n_not_asked")
                counted = {name: (*row, not_asked.get(name, "")) for name, row in counted.items()}
            rows = {cells[0]: tuple(cells[1:]) for _, cells in read_rows(folder / "table2.csv", columns)}
            findings += _compare("table2.csv", rows, counted)
        if (folder / "table3.csv").is_file():
            sizes = [tuple(cells[1:]) for _, cells in read_rows(folder / "table3.csv", _SIZES_COLUMNS)]
            expected = map(_text, size_rows(folder, said))
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
