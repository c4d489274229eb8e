"""Fetch public sets and show how far each file is."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overlap.base.progress import Move, show_progress
from overlap.datasets.download import download

if TYPE_CHECKING:
    from rich.console import Console


def download_set(name: str, folder: Path, *, only: Sequence[str], console: "Console") -> tuple[Path, ...]:
    """Fetch a public set, showing how far each file is."""
    from rich.filesize import decimal
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn

    label = TextColumn("{task.description:<32}", markup=False)
    columns = (label, BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn())
    files: dict[str, Move] = {}
    with show_progress(console, *columns, count=decimal) as begin:

        def show(file: str, done: int, total: int | None) -> None:
            if file not in files:
                files[file] = begin(file, total)
            files[file](done, None)

        return download(name, folder, only=only or None, progress=show)
