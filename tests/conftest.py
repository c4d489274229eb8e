"""Small worlds and configs that several tests share."""

import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from filelock import FileLock
from needs import find_chromium
from rich.console import Console
from tiny import write_truth

from overlap.base.config import Config, load_config
from overlap.base.workers import map_in_processes
from overlap.pipeline.run import Run, open_run

PROJECT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("OVERLAP_SHARED", PROJECT.parent / "shared"))

_LONGEST = ("steps", "review_app", "flows")

_CONFIG = """
name = "test"
store = "store"
[train]
format = "synthetic"
root = {world}
[[evaluation]]
format = "synthetic"
name = "oxsynth"
root = {world}
[[evaluation]]
format = "synthetic"
name = "parsynth"
root = {world}
[synthetic]
seed = {seed}
landmarks = {landmarks}
photos_per_landmark = 6
size_px = 320
[descriptors]
vocabulary = 16
dimensions = 64
[search]
k = 25
[verify]
keypoints = 1024
size_px = 480
[release]
out = "manifests"
[run]
workers = 1
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest, so that several processes end together."""
    items.sort(key=lambda item: item.path.parent.name not in _LONGEST)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real photos and weights, or skip."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there: real photos and weights lie beside the project only where it is developed")
    return SHARED


@pytest.fixture(scope="session")
def write_config() -> Callable[..., Path]:
    """Return what writes the config of a small synthetic world into a folder; the worlds may be shared."""

    def write(folder: Path, *, world: Path, seed: int = 1, landmarks: int = 10, more: Sequence[str] = ()) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.toml"
        text = _CONFIG.format(world=f'"{world}"', seed=seed, landmarks=landmarks)
        path.write_text("\n".join([text, *more]), encoding="utf-8")
        return path

    return write


def _map_here(function: Callable, tasks: Sequence, *, label: str, sizes: Sequence[int]) -> list:
    return [function(task) for task in tasks]


@pytest.fixture(scope="session")
def open_quietly() -> Callable[[Config], object]:
    """Return what opens a run whose progress nobody sees; its messages are collected in ``said``.

    With one worker it works here: a process of its own would first import everything again.
    """

    @contextmanager
    def open_it(config: Config, said: list[str] | None = None) -> Iterator[Run]:
        say = (lambda line: None) if said is None else said.append
        processes = map_in_processes(config.run.workers, console=Console(file=io.StringIO()))
        with nullcontext(_map_here) if config.run.workers == 1 else processes as map_shards:
            with open_run(config, map_shards=map_shards, say=say) as run:
                yield run

    return open_it


@pytest.fixture(scope="session")
def copy_curated(tmp_path_factory: pytest.TempPathFactory, write_config, open_quietly) -> Callable[[Path, str], Path]:
    """Return what copies the store of a curated world into a folder, and returns its config's path.

    The worlds are small ones of seeds 1 and 2, and that of ``make demo``. Each is rendered and curated once for all of
    pytest's processes.
    """
    from overlap.pipeline.curate import curate

    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def write(folder: Path, name: str) -> Path:
        world = base / name / "world"
        return _write_demo(folder, world) if name == "demo" else write_config(folder, world=world, seed=int(name))

    def copy(folder: Path, name: str) -> Path:
        original = base / name
        with FileLock(f"{original}.lock"):
            if not (original / "done").exists():
                with open_quietly(load_config(write(original, name))) as run:
                    curate(run)
                (original / "done").touch()
        shutil.copytree(original / "store", folder / "store")
        return write(folder, name)

    return copy


def _write_demo(folder: Path, world: Path) -> Path:
    """Write the config of the demo, with a store and releases beside it and the world elsewhere."""
    text = (PROJECT / "flows" / "configs" / "demo.toml").read_text(encoding="utf-8")
    for name, place in (("world", str(world)), ("store", "store"), ("manifests", "manifests")):
        text = text.replace(f'"../../runs/demo/{name}"', f'"{place}"')
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.toml"
    path.write_text(f"{text}\n[run]\nworkers = 1\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def chromium():
    """Return a headless Chromium, or skip. It goes with the module: while it lives, the thread has an event loop."""
    path = find_chromium()
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def tiny_photos(tmp_path: Path) -> Path:
    """Write a training set of two landmarks and an evaluation set of one query, real JPEGs, and a config."""
    import numpy as np

    from overlap.base.images import encode_jpeg

    rng = np.random.default_rng(0)
    rows = []
    for number in range(6):
        image_id = f"{number:016x}"
        path = tmp_path / "train" / "/".join(image_id[:3]) / f"{image_id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_jpeg(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)))
        rows.append((image_id, 1 + number // 3))
    lines = [f"{landmark},{' '.join(i for i, own in rows if own == landmark)}" for landmark in (1, 2)]
    (tmp_path / "train_clean.csv").write_text("\n".join(["landmark_id,images", *lines, ""]))
    jpg = tmp_path / "eval" / "jpg"
    jpg.mkdir(parents=True)
    for name in ("q", "d"):
        (jpg / f"{name}.jpg").write_bytes(encode_jpeg(rng.integers(0, 255, (96, 128, 3), dtype=np.uint8)))
    write_truth(tmp_path / "eval", [1, 1, 90, 90])
    config = tmp_path / "config.toml"
    config.write_text(
        'store = "store"\n[train]\nformat = "gldv2"\nroot = "."\n'
        '[[evaluation]]\nformat = "revisited"\nname = "tiny"\nroot = "eval"\n'
        "[descriptors]\nvocabulary = 4\ndimensions = 8\n[run]\nworkers = 1\n"
    )
    return tmp_path
