"""Small worlds and configs that several tests share."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("OVERLAP_SHARED", PROJECT.parent / "shared"))

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
workers = 2
"""


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
