"""CSV that people open: one writer, one reader, and the guard against cells that a spreadsheet would run as a formula.

Files are UTF-8 with LF line ends and fixed columns. A text cell that begins with ``= + - @``, TAB, CR or LF gets an
apostrophe in front, and so does one that begins with apostrophes and one of these, so that reading takes off exactly
what writing put on. A list is written as its elements joined by blanks, an instant as ``2026-01-31T12:00:00.000Z``.
"""

import csv
import os
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, TextIO

import pyarrow as pa
import pyarrow.compute as pc

from overlap.errors import ArtifactError, DataError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = re.compile(r"""[^'=+\-@\t\r\n",][^\r\n",]*""").fullmatch
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]").match
_QUOTED = re.compile(r'[\r\n",]').search


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write into, which takes the path's place when the block ends without an error.

    Raises:
        ArtifactError: the disk is full, or the folder is missing or not writable.
    """
    draft = path.with_name(f".{path.name[:32]}.{uuid.uuid4().hex[:8]}")
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise ArtifactError(
            f"{path} can't be written: {error.strerror}; free some space or name another place"
        ) from None
    finally:
        draft.unlink(missing_ok=True)


def write_csv(path: Path, table: pa.Table) -> None:
    """Write a table for people, whole or not at all.

    Raises:
        ArtifactError: the file can't be written.
    """
    with replacing(path) as file:
        file.write(csv_bytes(table))


def csv_bytes(table: pa.Table) -> bytes:
    """Return a table as CSV, formula cells neutralised."""
    columns = [_column_cells(column) for column in table.columns]
    lines = [",".join(map(_text_cell, table.column_names)), *map(",".join, zip(*columns, strict=True))]
    return ("\n".join(lines) + "\n").encode()


def neutralised(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run."""
    return f"'{text}" if _FORMULA(text) else text


def restored(cell: str) -> str:
    """Take off the apostrophe that `neutralised` put on."""
    return cell[1:] if cell.startswith("'") and _FORMULA(cell) else cell


def read_rows(path: Path, required: Sequence[str], *, optional: Sequence[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV's rows with the line each begins on; cells come as required then optional, absent columns empty.

    Other columns are passed over. Empty lines hold no row.

    Raises:
        DataError: the file is missing or not UTF-8 CSV, a column is missing or twice there, or a row has more or
            fewer cells than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from _rows(path, file, (*required, *optional), len(required))
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}); save it as CSV UTF-8") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def _rows(path: Path, file: TextIO, names: Sequence[str], n_required: int) -> Iterator[tuple[int, list[str]]]:
    records = _records(path, file)
    header = next(records, (1, []))[1]
    places = _places(path, header, names, n_required)
    for line, cells in records:
        if len(cells) != len(header):
            raise DataError(f"{path} line {line}: {len(cells)} cells where the header has {len(header)}")
        yield line, ["" if place is None else restored(cells[place]) for place in places]


def _records(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(file, strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path} line {line}: not CSV: {error}") from None


def _places(path: Path, header: list[str], names: Sequence[str], n_required: int) -> list[int | None]:
    twice = sorted({name for name in names if header.count(name) > 1})
    if twice:
        raise DataError(f"{path} line 1: column {', '.join(twice)} is there more than once")
    missing = [name for name in names[:n_required] if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise DataError(f"{path} line 1: expected the column(s) {', '.join(missing)}; found {found}")
    return [header.index(name) if name in header else None for name in names]


def _column_cells(column: pa.ChunkedArray) -> list[str]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return _cells(column.cast(pa.timestamp("ms", tz="UTC")).cast(pa.int64()), _instant)
    if pa.types.is_string(kind):
        return _cells(column, _text_cell)
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _cells(column, _joined)
    return _cells(pc.cast(column, pa.string()), str)


def _cells(column: pa.ChunkedArray, write: Callable[..., str]) -> list[str]:
    return ["" if value is None else write(value) for value in column.to_pylist()]


def _joined(values: list[object]) -> str:
    return _text_cell(" ".join(map(str, values)))


def _instant(milliseconds: int) -> str:
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text_cell(text: str) -> str:
    if _PLAIN(text):
        return text
    cell = neutralised(text)
    return '"' + cell.replace('"', '""') + '"' if _QUOTED(cell) else cell
