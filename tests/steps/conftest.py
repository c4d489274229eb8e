"""Worlds that are rendered once, and runs over them."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from overlap.config import Config, load_config
from overlap.steps.run import Run, open_run
from overlap.workers import map_in_processes


@pytest.fixture(scope="session")
def open_quietly() -> Callable[[Config], object]:
    """Return what opens a run whose progress nobody sees; its messages are collected in ``said``."""

    @contextmanager
    def open_it(config: Config, said: list[str] | None = None) -> Iterator[Run]:
        say = (lambda line: None) if said is None else said.append
        with map_in_processes(config.run.workers, console=Console(file=io.StringIO())) as map_shards:
            with open_run(config, map_shards=map_shards, say=say) as run:
                yield run

    return open_it


@pytest.fixture(scope="session", params=[1, 2, 3])
def curated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, write_config, open_quietly
) -> Config:
    """Return the config of a curated world of each of three seeds."""
    from overlap.steps.pipeline import curate

    folder = tmp_path_factory.mktemp(f"seed{request.param}")
    config = load_config(write_config(folder, world=folder / "world", seed=request.param))
    with open_quietly(config) as run:
        curate(run)
    return config
