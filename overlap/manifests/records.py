"""A CSV as the bytes of its records, so that what is kept is kept to the byte.

A record ends at LF or CRLF outside quotes, as Python's csv reads it, and keeps its line end. Lines are streamed: memory
does not grow with the file.
"""

import csv
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from overlap.errors import DataError

_BOM = b"\xef\xbb\xbf"
_WHOLE_NUMBER = re.compile(rb" *([0-9]{1,18}) *").fullmatch


class Record(NamedTuple):
    """Hold one record.

    Args:
        line: the line it begins on, from 1.
        raw: its bytes with the line end.
        landmark_id: None for the header and for empty lines, which belong to no landmark.
        n_images: ids in the column ``images``, or 1 in a file without that column or with a photo a line.
    """

    line: int
    raw: bytes
    landmark_id: int | None
    n_images: int


def read_records(path: Path) -> Iterator[Record]:
    """Read a CSV that has a column landmark_id: its header, then its rows in order.

    The records' bytes, joined, are the file.

    Raises:
        DataError: the file can't be read, has no or two such columns, or a row is not CSV or its landmark_id not a
            whole number; the message names the line.
    """
    try:
        with path.open("rb") as file:
            yield from _records(path, file)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror}") from None


def _records(path: Path, file: BinaryIO) -> Iterator[Record]:
    records = _split(path, file)
    line, raw, names = next(records, (1, b"", []))
    if names.count(b"landmark_id") != 1:
        found = b",".join(names).decode(errors="replace")[:80] or "nothing"
        raise DataError(f"{path} line 1: expected one column landmark_id; found {found}")
    place = names.index(b"landmark_id")
    images = names.index(b"images") if b"images" in names and b"image_id" not in names else None
    yield Record(line, raw, None, 0)
    for line, raw, cells in records:
        if not cells:
            yield Record(line, raw, None, 0)
            continue
        if len(cells) != len(names):
            raise DataError(f"{path} line {line}: {len(cells)} cells where the header has {len(names)}")
        n_images = 1 if images is None else len(cells[images].split())
        yield Record(line, raw, _landmark_id(path, line, cells[place]), n_images)


def _landmark_id(path: Path, line: int, cell: bytes) -> int:
    number = _WHOLE_NUMBER(cell)
    if number is None:
        raise DataError(f"{path} line {line}: landmark_id {cell[:40].decode(errors='replace')!r} is not a whole number")
    return int(number[1])


def _split(path: Path, file: BinaryIO) -> Iterator[tuple[int, bytes, list[bytes]]]:
    """Split a file into records: first line, bytes, cells; no cells in an empty line."""
    line = 1
    for first in file:
        text = first.removeprefix(_BOM) if line == 1 else first
        body = text.rstrip(b"\r\n")
        if b'"' in first:
            raw, cells = _quoted(path, line, first=text, more=file)
            raw = first + raw[len(text) :]
        elif b"\r" in body or text[len(body) :].count(b"\r") > 1:
            raise DataError(f"{path} line {line}: a CR that ends no line; save the file with LF or CRLF line ends")
        else:
            raw, cells = first, body.split(b",") if body else []
        yield line, raw, cells
        line += max(1, raw.count(b"\n"))


def _quoted(path: Path, line: int, *, first: bytes, more: Iterable[bytes]) -> tuple[bytes, list[bytes]]:
    lines = [first]
    reader = csv.reader(_noted(lines, more), strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # a landmark's images may fill more than the 128 KiB allowed otherwise
    try:
        cells = next(reader)
    except csv.Error as error:
        raise DataError(f"{path} line {line}: not CSV: {error}") from None
    finally:
        csv.field_size_limit(limit)
    return b"".join(lines), [cell.encode("latin-1") for cell in cells]


def _noted(lines: list[bytes], more: Iterable[bytes]) -> Iterator[str]:
    # Latin-1 gives each byte back as it was, whatever the file's encoding.
    yield lines[0].decode("latin-1")
    for line in more:
        lines.append(line)
        yield line.decode("latin-1")
