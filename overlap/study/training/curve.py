"""What a training looked like while it ran: one row every few steps."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from overlap.base.errors import DataError
from overlap.base.sheets import read_rows, replacing


@dataclass(frozen=True)
class Point:
    """Hold one row of the curve.

    Args:
        step: steps done.
        loss: mean over the steps since the last row.
        learning_rate: of the last step.
        images_per_s: since the last row, all devices together.
        validation_map: mean average precision on the held-out photos, where it was measured.
    """

    step: int
    loss: float
    learning_rate: float
    images_per_s: float
    validation_map: float | None = None


COLUMNS = tuple(field.name for field in fields(Point))


def write_curve(path: Path, points: Iterable[Point]) -> None:
    """Write a curve as CSV, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def read_curve(path: Path) -> list[Point]:
    """Read a curve.

    Raises:
        DataError: the file is missing, lacks a column or holds something other than numbers.
    """
    points = []
    for line, cells in read_rows(path, COLUMNS):
        try:
            step, loss, rate, speed, validation = cells
            measured = float(validation) if validation else None
            points.append(Point(int(step), float(loss), float(rate), float(speed), measured))
        except ValueError:
            raise DataError(f"{path} line {line}: expected numbers, found {','.join(cells)}") from None
    return points
