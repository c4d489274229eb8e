"""The demo as the pipeline curated it, a server of the app, and a headless Chromium."""

import csv
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
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from overlap.base.config import Config, load_config
from overlap.base.tables import LINKS, PROPOSALS, as_table
from overlap.pipeline import closure
from overlap.pipeline.audit import sample_audit
from overlap.pipeline.closure import close
from overlap.pipeline.photos import read_photos
from overlap.pipeline.review import open_reviews, simulate_votes
from overlap.review.desk import now_ms
from overlap.review.reviewers import add_reviewer
from overlap.review.store import ReviewStore
from overlap.review.votes import read_truth


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
    """Return a folder with the demo, and the queue that the pipeline made of it."""
    pytest.importorskip("streamlit")
    return copy_curated(tmp_path_factory.mktemp("rendered"), "demo").parent


@pytest.fixture
def world(rendered, tmp_path) -> World:
    """Return the world with a review database, port and releases of its own, and three reviewers, Ann a lead."""
    return make_world(rendered, tmp_path)


def make_world(rendered: Path, folder: Path) -> World:
    path = rendered / f"{folder.parent.name}-{folder.name}.toml"
    own_config(rendered / "config.toml", path, folder)
    store = open_reviews(load_config(path))
    store.add_items(open_reviews(load_config(rendered / "config.toml")).read_items())
    return World(path, let_in(store))


@pytest.fixture
def grown(tmp_path, copy_curated, open_quietly, monkeypatch) -> World:
    """Return a world that people have reviewed, with what closure then proposed and what the audit drew.

    The search for kin takes long and has its own tests; here it finds the one landmark with a second id.
    """
    pytest.importorskip("streamlit")
    path = tmp_path / "grown.toml"
    more = "[audit]\nwhole = 1\nbelow = 0\nrandom = 1\nchecks = 0\n"
    curated = copy_curated(tmp_path, "demo")
    own_config(curated, path, tmp_path, more=more, policy="strict", gold_share=0)
    config, truth = load_config(path), load_config(path).train.root / "truth"
    with (truth / "landmarks.csv").open(newline="") as file:
        roles = {int(row["landmark_id"]): row["role"] for row in csv.DictReader(file)}
    main = [each for each, role in roles.items() if role == "overlap"]
    second = next(each for each, role in roles.items() if role == "split")
    monkeypatch.setattr(closure, "_find_kin", lambda *_: kin_of(config, second, main[0]))
    items, store = open_reviews(load_config(curated)).read_items(), open_reviews(config)
    asked = pc.or_(pc.is_in(items["landmark_id"], value_set=pa.array(main)), pc.is_null(items["query_id"]))
    store.add_items(items.filter(asked))
    simulate_votes(config, truth / "true_pairs.csv", reviewers=3, error_rate=0.0, seed=0)
    with open_quietly(config) as run:
        assert close(run).n_new
        assert sample_audit(run).num_rows
    return World(path, let_in(store))


def kin_of(config: Config, landmark: int, kin: int) -> tuple[pa.Table, pa.Table]:
    """Return LINKS and PROPOSALS: a landmark, linked with a confirmed one by a photo of each."""
    train = read_photos(config, "train")
    photos = [train.filter(pc.equal(train["landmark_id"], each))["image_id"][0].as_py() for each in (landmark, kin)]
    link = {"landmark_id": landmark, "image_id": photos[0], "kin_id": kin, "kin_image_id": photos[1], "score": 0.9}
    proposal = {"landmark_id": landmark, "component": kin, "kin": [kin], "reasons": ["photos"], "score": 0.9}
    counts = {"n_images": 1, "n_kin_images": 1}
    return as_table([link], LINKS), as_table([proposal | counts], PROPOSALS)


def own_config(
    given: Path, path: Path, folder: Path, *, more: str = "", policy: str = "paper", gold_share: float = 0.2
) -> None:
    text = given.read_text(encoding="utf-8").replace('"manifests"', f'"{folder}/manifests"')
    text = text.replace('name = "paper"', f'name = "{policy}"')
    own = f'[review]\ngold_share = {gold_share}\nport = {free_port()}\ndatabase = "sqlite:///{folder}/votes.sqlite"\n'
    path.write_text(f"{text}\n{own}{more}", encoding="utf-8")


def let_in(store: ReviewStore) -> dict[str, str]:
    roles = {"Ann": "lead", "Bob": "reviewer", "Cyd": "reviewer"}
    return {name: add_reviewer(store, name, role=role, now_ms=now_ms()) for name, role in roles.items()}


@pytest.fixture(scope="session")
def servers() -> SimpleNamespace:
    """Return how to start the app's server: for a block, or for good; and how to make a world for it."""
    return SimpleNamespace(serving=serving, start=start, make_world=make_world)


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
