"""The paper's Table 2 (what overlaps) and Table 3 (what is left), as values, text and CSV.

Source: arXiv 2404.01524, Tables 2 and 3; tests/report/test_tables.py holds their figures to the digit.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa

from overlap.base.errors import DataError
from overlap.base.grids import Grid

TEXT = "TEXT"
CLOSURE = "CLOSURE"
AUDIT = "AUDIT"
TOTAL = "TOTAL"
_WHOLE: Mapping[str, str] = MappingProxyType({"text": TEXT, "closure": CLOSURE, "audit": AUDIT})
OVERLAP_COLUMNS = ("EVAL", "#EVAL IMG", "#DUPL EVAL", "#DUPL GLDv2 GID", "#DUPL GLDv2 IMG")
SIZES_COLUMNS = ("NAME", "#IMAGES", "#CATEGORIES")


@dataclass(frozen=True)
class OverlapRow:
    """Hold one row of Table 2.

    Args:
        name: the evaluation set; ``TEXT``, ``CLOSURE`` or ``AUDIT`` for landmarks confirmed as a whole, by what brought
            them up; or ``TOTAL``.
        n_queries: its queries; None for landmarks confirmed as a whole, which have none.
        n_duplicated: those of them that show a removed landmark.
        n_landmarks: removed landmarks; one counts once.
        n_images: their photos in train_clean.csv.
        n_not_asked: further queries that may show a removed landmark: people were not asked about them to the end.
    """

    name: str
    n_queries: int | None
    n_duplicated: int | None
    n_landmarks: int
    n_images: int
    n_not_asked: int | None = None


@dataclass(frozen=True)
class SizesRow:
    """Hold one row of Table 3: a version of the training set and its size."""

    name: str
    n_images: int
    n_categories: int


def overlap_table(
    removals: pa.Table,
    *,
    n_queries: Mapping[str, int],
    duplicated_queries: Mapping[str, int],
    not_asked_queries: Mapping[str, int] = MappingProxyType({}),
) -> tuple[OverlapRow, ...]:
    """Count what was removed, by evaluation set: the paper's Table 2.

    Args:
        removals: REMOVALS. A landmark counts once: by what was seen before what was read, then by the order of the
            evaluation sets; its other rows are not counted again.
        n_queries: queries by evaluation set; its order is the order of the rows.
        duplicated_queries: queries that show a removed landmark; a set that is not named has none.
        not_asked_queries: queries that may, likewise.

    Returns:
        A row an evaluation set, then ``TEXT``, then ``CLOSURE`` and ``AUDIT`` if there is any, then ``TOTAL``.

    Raises:
        DataError: an evaluation set is unknown, or has more duplicated queries than queries.
    """
    _check_sets(removals, n_queries, duplicated_queries)
    counted = _count_once(removals, (*n_queries, *_WHOLE.values()))
    rows = [
        OverlapRow(
            name, n_queries[name], duplicated_queries.get(name, 0), *counts, n_not_asked=not_asked_queries.get(name, 0)
        )
        if name in n_queries
        else OverlapRow(name, None, None, *counts)
        for name, counts in counted.items()
        if name in n_queries or name == TEXT or counts[0]
    ]
    total = OverlapRow(
        TOTAL,
        sum(n_queries.values()),
        sum(duplicated_queries.values()),
        sum(row.n_landmarks for row in rows),
        sum(row.n_images for row in rows),
        sum(row.n_not_asked or 0 for row in rows),
    )
    return (*rows, total)


def sizes_table(training_sets: Mapping[str, tuple[int, int]]) -> tuple[SizesRow, ...]:
    """Give the sizes of the training set's versions, name -> (images, categories): the paper's Table 3."""
    return tuple(SizesRow(name, *size) for name, size in training_sets.items())


def overlap_grid(rows: Sequence[OverlapRow]) -> Grid:
    """Format Table 2 as the paper prints it: ``36 (51%)``, ``1,227``, nothing where there is nothing to count.

    Where people were not asked about further queries to the end it is ``8 (22%), and 15 not asked``.
    """
    cells = tuple(
        (row.name, _number(row.n_queries), _share(row), _number(row.n_landmarks), _number(row.n_images)) for row in rows
    )
    return Grid("Table 2. Landmarks shared with the evaluation sets", OVERLAP_COLUMNS, cells, has_total=True)


def sizes_grid(rows: Sequence[SizesRow]) -> Grid:
    """Format Table 3 as the paper prints it."""
    cells = tuple((row.name, _number(row.n_images), _number(row.n_categories)) for row in rows)
    return Grid("Table 3. Size of the training set", SIZES_COLUMNS, cells)


def render_csv(rows: Sequence[OverlapRow] | Sequence[SizesRow]) -> str:
    """Render the counts as CSV, numbers as numbers, a missing count as an empty cell.

    A name that a spreadsheet would run as a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows[:1]:
        writer.writerow([field.name for field in dataclasses.fields(row)])
    for row in rows:
        name, *counts = dataclasses.astuple(row)
        writer.writerow([f"'{name}" if name[:1] in "=+-@\t" else name, *counts])
    return text.getvalue()


def _check_sets(removals: pa.Table, n_queries: Mapping[str, int], duplicated_queries: Mapping[str, int]) -> None:
    found = {row["evaluation_set"] for row in removals.select(["evaluation_set", "origin"]).to_pylist() if _seen(row)}
    unknown = sorted((found | set(duplicated_queries)) - set(n_queries))
    if unknown:
        raise DataError(
            f"removals: evaluation set(s) {', '.join(unknown)} are not among those of the config "
            f"({', '.join(n_queries)}); decide again with 'overlap publish'"
        )
    for name, duplicated in duplicated_queries.items():
        if duplicated > n_queries[name]:
            raise DataError(f"{name}: {duplicated} duplicated queries are more than its {n_queries[name]} queries")


def _count_once(removals: pa.Table, order: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return landmarks and photos by row name, each landmark at its first place in the order."""
    place = {name: position for position, name in enumerate(order)}
    rows = [
        (place[_row_of(row)], row["landmark_id"], row["n_images"])
        for row in removals.select(["landmark_id", "evaluation_set", "origin", "n_images"]).to_pylist()
    ]
    first = {landmark_id: (position, n_images) for position, landmark_id, n_images in sorted(rows, reverse=True)}
    return {
        name: (
            sum(found == position for found, _ in first.values()),
            sum(n_images for found, n_images in first.values() if found == position),
        )
        for name, position in place.items()
    }


def _row_of(row: Mapping[str, str]) -> str:
    return row["evaluation_set"] if _seen(row) else _WHOLE[row["origin"]]


def _seen(row: Mapping[str, str]) -> bool:
    """Tell whether a pair was confirmed; a landmark confirmed as a whole has no evaluation set."""
    return row["origin"] != "text" and bool(row["evaluation_set"])


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _share(row: OverlapRow) -> str:
    more = f", and {row.n_not_asked:,} not asked" if row.n_not_asked else ""
    if not row.n_queries or row.n_duplicated is None or row.name == TOTAL:
        return _number(row.n_duplicated) + more
    return f"{row.n_duplicated:,} ({row.n_duplicated / row.n_queries:.0%}){more}"
