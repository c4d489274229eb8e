"""CSV files as columns of text: an id of digits only must never become a number."""

import csv
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from overlap.errors import DataError

_BLOCK_BYTES = 64 << 20

_ONE_LINE = r"\A[^\r\n]*\z"
_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"


def read_columns(path: Path, required: Sequence[str], *, optional: Sequence[str] = (), remedy: str) -> pa.Table:
    """Read a CSV file's named columns as text; others are left aside.

    Args:
        path: a UTF-8 file with a header and no line breaks inside cells: row i of the result is line i + 2.
        remedy: how to get a good file, for the messages.

    Returns:
        A table of the required columns and those optional ones that the file has; an empty cell is empty text.

    Raises:
        DataError: the file is missing, the header lacks a column or has one twice, or a line has another number of
            cells than the header, or a cell goes over several lines.
    """
    header = _read_header(path, remedy)
    missing = [name for name in required if name not in header]
    if missing or len(set(header)) < len(header):
        problem = f"lacks {', '.join(missing)}" if missing else "names a column twice"
        raise DataError(f"{path} row 1: the header {','.join(header)!r} {problem}; {remedy}")
    table = _parse(path, [name for name in (*required, *optional) if name in header], remedy)
    for name in table.column_names:
        problem = f"the cell {name} goes over several lines; look for a quote that is not closed, or {remedy}"
        require_match(table[name], _ONE_LINE, path=path, problem=problem)
    return table


def parse_integers(column: pa.Array, path: Path, *, name: str, remedy: str) -> pa.Array:
    """Turn a column of text into int64.

    Raises:
        DataError: a cell is no plain whole number; the message names its row.
    """
    require_match(column, _INTEGER, path=path, problem=f"{name} {{!r}} is not a whole number; {remedy}")
    return column.cast(pa.int64())


def require_match(column: pa.Array, pattern: str, *, path: Path, problem: str) -> None:
    """Require that every cell of a column matches a regular expression.

    Args:
        problem: the message after file and row; ``{!r}`` becomes the cell.

    Raises:
        DataError: a cell does not; the first one is named.
    """
    row = pc.index(pc.match_substring_regex(column, pattern), False).as_py()
    if row >= 0:
        raise DataError(f"{line(path, row)}: " + problem.format(column[row].as_py()))


def line(path: Path, row: int) -> str:
    """Name the line of the file that holds row ``row``, counted from 0, of the table read from it."""
    return f"{path} row {row + 2}"


def _read_header(path: Path, remedy: str) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a readable CSV file ({error}); {remedy}") from None


def _parse(path: Path, names: Sequence[str], remedy: str) -> pa.Table:
    refused: list[pyarrow.csv.InvalidRow] = []

    def refuse(row: pyarrow.csv.InvalidRow) -> str:
        refused.append(row)
        return "error"

    try:
        return pyarrow.csv.read_csv(
            path,
            # One thread, or a refused row does not know its number.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(ignore_empty_lines=False, invalid_row_handler=refuse),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=names),
        ).combine_chunks()
    except pa.ArrowInvalid as error:
        if refused:
            row = refused[0]
            raise DataError(
                f"{path} row {row.number}: {row.expected_columns} cells expected, {row.actual_columns} found; {remedy}"
            ) from None
        raise DataError(f"{path}: not a readable CSV file ({error}); {remedy}") from None
