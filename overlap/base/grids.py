"""A table ready to be shown, and as plain text."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """Hold a table ready to be shown: cells are text, the first column names the row, the others are numbers.

    Args:
        has_total: the last row sums the others.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    has_total: bool = False


def render_text(grid: Grid) -> str:
    """Render a table as plain text, aligned, for logs, files and terminals that show no boxes."""
    lines = (grid.columns, *grid.rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(grid.columns))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    body = [_aligned(row, widths) for row in grid.rows]
    if grid.has_total:
        body.insert(-1, rule)
    return "\n".join([grid.caption, rule, _aligned(grid.columns, widths), rule, *body, rule]) + "\n"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (f"{cell:{'>' if column else '<'}{widths[column]}}" for column, cell in enumerate(cells))
    return "  ".join([first, *others]).rstrip()
