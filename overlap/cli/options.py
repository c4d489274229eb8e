"""What the commands share: the options, and how a config is opened."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from overlap.base.config import Config
    from overlap.pipeline.run import Run

ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The TOML config; flows/configs/ has examples.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, VALUE a TOML literal: --set search.k=100"),
]
OutOption = Annotated[Path, typer.Option("--out", help="The file to write.")]


def load(path: Path, overrides: list[str] | None) -> "Config":
    """Read the config with its overrides."""
    from overlap.base.config import load_config

    return load_config(path, overrides or ())


@contextmanager
def open_config(path: Path, overrides: list[str] | None, *, follows: bool = False) -> "Iterator[Run]":
    """Read the config, hold its store and start the workers, and show how work goes on.

    Args:
        follows: another process of the same command holds the store and does the talking.
    """
    from overlap.base.errors import ConfigError
    from overlap.base.progress import make_say, show_progress
    from overlap.base.workers import map_with, start_processes
    from overlap.pipeline.run import follow_run, open_run

    config = load(path, overrides)
    if config.run.engine != "processes":
        raise ConfigError(
            f"{path}: run.engine = {config.run.engine!r} is for the flows; start 'python -m flows.curate {path}', "
            "or add --set run.engine=processes to work on this machine alone"
        )
    console = make_console()
    with start_processes(config.run.workers) as pool, show_progress(console) as begin:
        map_shards = map_with(pool, begin)
        if follows:
            yield follow_run(config, map_shards=map_shards)
            return
        with open_run(config, map_shards=map_shards, say=make_say(console), begin=begin) as opened:
            yield opened


def is_follower() -> bool:
    """Tell whether torchrun started this process as another than the first."""
    return os.environ.get("RANK", "0") != "0"


def make_console() -> "Console":
    """Return the console for progress and remarks: the error stream, so that results can be piped."""
    from rich.console import Console

    return Console(stderr=True)
