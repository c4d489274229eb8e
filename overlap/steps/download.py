"""Fetch public sets with a progress bar."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from overlap.datasets.download import download

if TYPE_CHECKING:
    from rich.console import Console


def download_set(name: str, folder: Path, *, only: Sequence[str], console: "Console") -> tuple[Path, ...]:
    """Fetch a public set, showing a bar for each file."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description:<32}"), BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=console) as progress:

        def show(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        return download(name, folder, only=only or None, progress=show)
