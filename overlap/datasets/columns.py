"""CSV files as columns of text: an id of digits only must never become a number."""

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from overlap.base.errors import DataError
from overlap.base.sheets import read_header, require_columns, split_records
from overlap.base.tables import LANDMARK_ID, LANDMARK_ID_FORM

_BLOCK_BYTES = 64 << 20
_ROWS = 1 << 16

_ONE_LINE = r"\A[^\r\n]*\z"
_IMAGE_ID = r"\A[^\p{Cc}\pZ]([^\p{Cc}\p{Zl}\p{Zp}]*[^\p{Cc}\pZ])?\z"


def read_columns(path: Path, required: Sequence[str], *, optional: Sequence[str] = (), remedy: str) -> pa.Table:
    """Read a CSV file's named columns as text; others are left aside.

    Args:
        path: a file that keeps the rules of `overlap.base.sheets`; without line breaks in the cells of these columns.
        remedy: how to get a good file, for the messages.

    Returns:
        A table of the required columns and those optional ones that the file has; an empty cell is empty text.

    Raises:
        DataError: the file is missing or breaks a rule, the header lacks a column, or a cell of these columns goes over
            several lines.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file; {remedy}")
    try:
        table = _read_columns(path, required, optional)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from None
    for name in table.column_names:
        problem = f"the cell {name} goes over several lines; look for a quote that is not closed, or {remedy}"
        require_match(table[name], _ONE_LINE, path=path, problem=problem)
    return table


def parse_integers(column: pa.Array, path: Path, *, name: str, remedy: str) -> pa.Array:
    """Turn a column of landmark ids, empty cells null, into int64.

    Raises:
        DataError: a cell is no landmark id; the message names its row.
    """
    problem = f"{name} {{!r}} is not a whole number; {remedy}; {LANDMARK_ID_FORM}"
    require_match(column, f"^{LANDMARK_ID}$", path=path, problem=problem)
    return column.cast(pa.int64())


def require_ids(column: pa.Array, path: Path, *, name: str, remedy: str) -> pa.Array:
    """Require that each cell can be the id of a photo: printable text without blanks around it; return the column.

    Raises:
        DataError: a cell can't.
    """
    require_match(column, ".", path=path, problem=f"the {name} is empty; {remedy}")
    problem = f"{name} {{!r}} has blanks around it or characters that can't be seen; {remedy}"
    require_match(column, _IMAGE_ID, path=path, problem=problem)
    return column


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
    """Name the line of the file that begins row ``row``, counted from 0, of the table read from it."""
    places = (number for number, _, cells in split_records(path) if cells)
    return f"{path} row {next(islice(places, row + 1, None))}"


def _read_columns(path: Path, required: Sequence[str], optional: Sequence[str]) -> pa.Table:
    number, header = read_header(path)
    require_columns(path, number, header, required, optional=optional)
    names = [name for name in (*required, *optional) if name in header]
    table = _parse_quickly(path.read_bytes(), header, names)
    if table is not None:
        return table
    return _gather((cells for _, _, cells in split_records(path) if cells), header, names)


def _parse_quickly(content: bytes, header: list[str], names: Sequence[str]) -> pa.Table | None:
    """Parse a file that is sound many times as fast as splitting it does; None for one that this is not sure of."""
    if b"\0" in content or content.count(b"\r") != content.count(b"\r\n"):
        return None
    try:
        if b'"' in content:
            rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
            return _gather((cells for cells in rows if cells), header, names)
        if not content.isascii():
            content.decode()
        return pyarrow.csv.read_csv(
            pa.BufferReader(content),
            pyarrow.csv.ReadOptions(block_size=_BLOCK_BYTES),
            pyarrow.csv.ParseOptions(quote_char=False),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), include_columns=names),
        ).combine_chunks()
    except (UnicodeDecodeError, csv.Error, pa.ArrowInvalid):
        return None


def _gather(rows: Iterator[list[str]], header: list[str], names: Sequence[str]) -> pa.Table:
    """Gather some columns of rows, the header's row among them.

    Raises:
        csv.Error: a row has another number of cells than the header.
    """
    next(rows)
    schema = pa.schema([(name, pa.string()) for name in names])
    parts = [schema.empty_table()]
    while some := list(islice(rows, _ROWS)):
        if any(len(cells) != len(header) for cells in some):
            raise csv.Error("another number of cells")
        columns = [[cells[place] for cells in some] for place in map(header.index, names)]
        parts.append(pa.table([pa.array(column, pa.string()) for column in columns], schema))
    return pa.concat_tables(parts).combine_chunks()
