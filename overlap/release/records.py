"""A CSV by landmarks, as the bytes of its records, so that what is kept is kept to the byte."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from overlap.base.errors import DataError
from overlap.base.sheets import require_columns, split_records
from overlap.base.tables import parse_landmark_id


class CsvRecord(NamedTuple):
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


def read_records(path: Path) -> Iterator[CsvRecord]:
    """Read a CSV that has a column landmark_id: its header, then its rows in order.

    The records' bytes, joined, are the file.

    Raises:
        DataError: the file can't be read or breaks a rule of `overlap.base.sheets`, has no such column, or one of its
            landmark ids is not a whole number; the message names the line.
    """
    place, images = -1, -1
    for line, raw, cells in split_records(path):
        if not cells:
            yield CsvRecord(line, raw, None, 0)
        elif place < 0:
            place, images = _find_columns(path, line, cells)
            yield CsvRecord(line, raw, None, 0)
        else:
            n_images = 1 if images < 0 else len(cells[images].split())
            yield CsvRecord(line, raw, _landmark_id(path, line, cells[place]), n_images)
    if place < 0:
        require_columns(path, 1, (), ("landmark_id",))


def _find_columns(path: Path, line: int, header: list[str]) -> tuple[int, int]:
    require_columns(path, line, header, ("landmark_id",), optional=("images",))
    counts = "images" in header and "image_id" not in header
    return header.index("landmark_id"), header.index("images") if counts else -1


def _landmark_id(path: Path, line: int, cell: str) -> int:
    try:
        return parse_landmark_id(cell)
    except ValueError as error:
        raise DataError(f"{path} line {line}: {error}") from None
