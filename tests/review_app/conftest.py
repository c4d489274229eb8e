"""A small rendered world that the pipeline curated, a server of the app, and a headless Chromium."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from overlap.config import Config, load_config
from overlap.review.desk import now_ms
from overlap.review.reviewers import add_reviewer
from overlap.review.votes import read_truth
from overlap.steps.review import open_reviews


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@dataclass(frozen=True)
class World:
    config: Path
    tokens: dict[str, str]

    @property
    def loaded(self) -> Config:
        return load_config(self.config)

    @property
    def truth(self):
        return read_truth(self.loaded.train.root / "truth" / "true_pairs.csv")


@pytest.fixture(scope="session")
def rendered(tmp_path_factory, copy_curated) -> Path:
    """Return a folder with a world of the demo's kind, and the queue that the pipeline made of it."""
    pytest.importorskip("streamlit")
    return copy_curated(tmp_path_factory.mktemp("rendered"), 3).parent


@pytest.fixture
def world(rendered, tmp_path) -> World:
    """Return the world with a review database, port and releases of its own, and three reviewers, Ann a lead."""
    path = rendered / f"{tmp_path.parent.name}-{tmp_path.name}.toml"
    text = (rendered / "config.toml").read_text(encoding="utf-8").replace('"manifests"', f'"{tmp_path}/manifests"')
    own = f'[review]\ngold_share = 0.2\nport = {free_port()}\ndatabase = "sqlite:///{tmp_path}/votes.sqlite"\n'
    path.write_text(f"{text}\n{own}", encoding="utf-8")
    store = open_reviews(load_config(path))
    store.add_items(open_reviews(load_config(rendered / "config.toml")).read_items())
    roles = {"Ann": "lead", "Bob": "reviewer", "Cyd": "reviewer"}
    tokens = {name: add_reviewer(store, name, role=role, now_ms=now_ms()) for name, role in roles.items()}
    return World(path, tokens)


@pytest.fixture(scope="session")
def servers() -> SimpleNamespace:
    """Return how to start the app's server: for a block, or for good."""
    return SimpleNamespace(serving=serving, start=start)


@dataclass
class Server:
    url: str
    process: subprocess.Popen


@contextmanager
def serving(world: World, **started) -> Iterator[Server]:
    """Run the app as `overlap review` does until the block ends."""
    try:
        yield start(world, **started)
    finally:
        for process in _started:
            process.kill()
            process.wait()


_started: list[subprocess.Popen] = []


def start(world: World, *, folder: Path = Path(__file__).parents[2]) -> Server:
    url = f"http://127.0.0.1:{world.loaded.review.port}"
    command = [sys.executable, "-m", "overlap", "review", "--config", str(world.config)]
    with world.config.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    _started.append(process)
    for _ in range(400):
        try:
            if httpx.get(f"{url}/_stcore/health", timeout=2, trust_env=False).status_code == 200:
                return Server(url, process)
        except httpx.TransportError:
            time.sleep(0.15)
        assert process.poll() is None, world.config.with_suffix(".log").read_text()
    raise AssertionError("the server did not start")
