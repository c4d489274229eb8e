"""A release beside the counts that the paper prints in its Tables 2 and 3."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from overlap.base.errors import CheckError, DataError
from overlap.base.sheets import read_rows
from overlap.base.texts import read_json
from overlap.release.apply import RELEASE_FILE
from overlap.release.tables import overlap_rows, size_rows

_COLUMNS = ("table", "row", "column", "count")
_OVERLAP = ("queries", "duplicated queries", "landmarks", "images")
_SIZES = ("images", "landmarks")


@dataclass(frozen=True)
class Cell:
    """Hold one count; None stands for one that is not there."""

    table: str
    row: str
    column: str
    expected: int | None
    found: int | None

    @property
    def agrees(self) -> bool:
        """Tell whether the count is as expected."""
        return self.expected == self.found


def read_expected(path: Path) -> dict[tuple[str, str, str], int]:
    """Read expected counts: a CSV with the columns table, row, column, count.

    Raises:
        DataError: it is not there, or a row is not such.
    """
    expected = {}
    for line, (table, row, column, count) in read_rows(path, _COLUMNS):
        if not (count.isascii() and count.isdecimal()):
            raise DataError(f"{path} line {line}: the count {count!r} is not a whole number")
        expected[table, row, column] = int(count)
    return expected


def compare_tables(folder: Path, expected: dict[tuple[str, str, str], int]) -> list[Cell]:
    """Return every cell that is expected, in that order, then those of the release that were not expected.

    Raises:
        CheckError: the folder holds no release that can be read.
    """
    found = _count(folder)
    return [Cell(*cell, expected.get(cell), found.get(cell)) for cell in {**expected, **found}]


def render_comparison(cells: Sequence[Cell]) -> str:
    """Return a text table with a line for each count."""
    lines = [("table", "row", "column", "expected", "found", "")]
    lines += [
        (cell.table, cell.row, cell.column, _shown(cell.expected), _shown(cell.found), "" if cell.agrees else "differs")
        for cell in cells
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            f"{text:{'>' if place in (3, 4) else '<'}{widths[place]}}" for place, text in enumerate(line)
        ).rstrip()
        for line in lines
    )


def _count(folder: Path) -> dict[tuple[str, str, str], int]:
    try:
        said = read_json(folder / RELEASE_FILE)
        overlap = overlap_rows(folder, said)
        sizes = dict(zip(("upstream", "release"), size_rows(folder, said), strict=False))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        raise CheckError(f"{folder} holds no release that can be read: {error}") from None
    tables: list[tuple[str, tuple[str, ...], Mapping[str, tuple[int | None, ...]]]] = [
        ("2", _OVERLAP, overlap),
        ("3", _SIZES, sizes),
    ]
    return {
        (table, row, column): count
        for table, columns, rows in tables
        for row, counts in rows.items()
        for column, count in zip(columns, counts, strict=True)
        if count is not None
    }


def _shown(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
