"""CSV that people open: one writer, one reader, and the guard against cells that a spreadsheet would run as a formula.

Files are written in UTF-8 with LF line ends and fixed columns. A text cell that begins with ``= + - @``, TAB, CR or LF
gets an apostrophe in front, and so does one that begins with apostrophes and one of these, so that reading takes off
exactly what writing put on. A list is written as its elements joined by blanks, an instant as
``2026-01-31T12:00:00.000Z``.

Every CSV is read by the same rules: UTF-8, with or without a byte-order mark, no NUL; lines end with LF or CRLF; quotes
as Python's csv has them when it is strict, and line breaks within them; the header names no column twice; each record
has as many cells as the header; an empty line holds no record. Names are taken as they stand, blanks and all.
"""

import csv
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import ArtifactError, DataError
from overlap.base.texts import decode

_LONE_CR = "a CR that ends no line; save the file with LF or CRLF line ends"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PLAIN = re.compile(r"""[^'=+\-@\t\r\n",][^\r\n",]*""").fullmatch
_FORMULA = re.compile(r"'*[=+\-@\t\r\n]").match
_QUOTED = re.compile(r'[\r\n",]').search


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write into, which takes the path's place when the block ends without an error.

    A link to a file stays, and its file is replaced. A device or a pipe is not: it would be gone for all programs.

    Raises:
        ArtifactError: the disk is full, the folder is missing or not writable, or the path is none of a file.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ArtifactError(f"{path} can't be written: it is a device or a pipe; name a file")
    path = Path(os.path.realpath(path))
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
        with suppress(OSError):  # the draft is gone, or what is said above says why
            draft.unlink()


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


def split_records(path: Path) -> Iterator[tuple[int, bytes, list[str]]]:
    """Split a CSV into records: the line that each begins on, from 1, its bytes with the line end, and its cells.

    The first record is the header. Empty lines come with no cells. The bytes, joined, are the file. Lines are streamed:
    memory does not grow with the file.

    Raises:
        DataError: the file can't be read or breaks a rule; the message names the line.
    """
    try:
        with path.open("rb") as file:
            yield from _split(path, file)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def read_header(path: Path) -> tuple[int, list[str]]:
    """Return the line of a CSV's header and its columns; none where there is no record.

    Raises:
        DataError: as for `split_records`.
    """
    return next(((line, cells) for line, _, cells in split_records(path) if cells), (1, []))


def read_rows(path: Path, required: Sequence[str], *, optional: Sequence[str] = ()) -> Iterator[tuple[int, list[str]]]:
    """Read a CSV's rows with the line each begins on; cells come as required then optional, absent columns empty.

    Other columns are passed over.

    Raises:
        DataError: the file is missing or breaks a rule, or a column is missing.
    """
    records = ((line, cells) for line, _, cells in split_records(path) if cells)
    line, header = next(records, (1, []))
    require_columns(path, line, header, required, optional=optional)
    places = [header.index(name) if name in header else None for name in (*required, *optional)]
    for line, cells in records:
        yield line, ["" if place is None else restored(cells[place]) for place in places]


def require_columns(
    path: Path, line: int, header: Sequence[str], required: Sequence[str], *, optional: Sequence[str] = ()
) -> None:
    """Require that a header has some columns, and that no optional one is there under nearly its name alone.

    Raises:
        DataError: it lacks one, or has an optional one in capitals or with characters that can't be seen; names that
            only look like one are shown as they are.
    """
    missing = [name for name in required if name not in header]
    if missing:
        found = ", ".join(map(_shown, header)) or "nothing"
        other = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
        hint = f"; commas separate columns, not {other!r}" if other else ""
        raise DataError(f"{path} line {line}: expected the column(s) {', '.join(missing)}; found {found}{hint}")
    absent = {_bare(name): name for name in optional if name not in header}
    near = next((name for name in header if _bare(name) in absent), None)
    if near is not None:
        raise DataError(f"{path} line {line}: column {near!r} is not written {absent[_bare(near)]!r}; rename it")


def _bare(name: str) -> str:
    """Return a column's name without what can't be seen, in small letters."""
    return "".join(letter for letter in name if letter.isprintable() and letter != " ").casefold()


def _shown(name: str) -> str:
    """Return a column's name, in quotes where something in or around it can't be seen."""
    return name if name and name == name.strip() and name.isprintable() else repr(name)


def _split(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes, list[str]]]:
    line, n_cells = 1, 0
    for first in file:
        text = _decoded(path, line, first)
        if '"' in text:
            raw, cells = _quoted(path, line, text=text, first=first, more=file)
        else:
            raw, body = first, text.rstrip("\r\n")
            cells = body.split(",") if body else []
        if b"\r" in raw:
            _check_line_end(path, line, raw, quoted='"' in text)
        if cells and len(cells) != n_cells:
            if n_cells:
                raise DataError(f"{path} line {line}: {len(cells)} cells where the header has {n_cells}")
            n_cells = len(cells)
            _check_names(path, line, cells)
        yield line, raw, cells
        line += max(1, raw.count(b"\n"))


def _decoded(path: Path, line: int, raw: bytes) -> str:
    try:
        text = raw.decode() if line > 1 and raw.isascii() else decode(raw, line=line)
    except ValueError as error:
        raise DataError(f"{path}: not a readable CSV file: {error}") from None
    if "\0" in text:
        raise DataError(f"{path} line {line}: a NUL byte, which no text holds; save the file as CSV UTF-8")
    return text


def _check_line_end(path: Path, line: int, raw: bytes, *, quoted: bool) -> None:
    """Refuse a CR that ends no line; the csv reader has refused those in a record with quotes, save at its end."""
    inner = b"" if quoted else raw.rstrip(b"\r\n")
    if b"\r" in inner or raw.removesuffix(b"\n").endswith(b"\r\r"):
        raise DataError(f"{path} line {line}: {_LONE_CR}")


def _check_names(path: Path, line: int, header: Sequence[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path} line {line}: column {', '.join(map(_shown, twice))} is there more than once")


def _quoted(path: Path, line: int, *, text: str, first: bytes, more: Iterable[bytes]) -> tuple[bytes, list[str]]:
    lines = [first]
    reader = csv.reader(_noted(path, line, text=text, lines=lines, more=more), strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # a landmark's images may fill more than the 128 KiB allowed otherwise
    try:
        cells = next(reader)
    except csv.Error as error:
        problem = _LONE_CR if "new-line" in str(error) else f"not CSV: {error}; look for a quote that is not closed"
        raise DataError(f"{path} line {line}: {problem}") from None
    finally:
        csv.field_size_limit(limit)
    return b"".join(lines), cells


def _noted(path: Path, line: int, *, text: str, lines: list[bytes], more: Iterable[bytes]) -> Iterator[str]:
    yield text
    for raw in more:
        lines.append(raw)
        yield _decoded(path, line + len(lines) - 1, raw)


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
