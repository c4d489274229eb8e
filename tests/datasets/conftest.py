"""Small sets written to disk in each format, and the shared folder when it is there."""

import io
import os
import pickle
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(os.environ.get("OVERLAP_SHARED", Path(__file__).parents[2] / ".." / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip("the shared folder is absent; OVERLAP_SHARED names another place")
    return folder


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def photo_bytes(image_id: str) -> bytes:
    return f"photo {image_id}".encode()


def write_gldv2(
    root: Path, landmarks: Mapping[int, Sequence[str]], *, categories: Mapping[int, str] | None = None
) -> Path:
    """Write a GLDv2 layout line by line, photos unpacked."""
    rows = "".join(f"{landmark},{' '.join(ids)}\n" for landmark, ids in landmarks.items())
    write(root / "train_clean.csv", f"landmark_id,images\n{rows}")
    if categories is not None:
        rows = "".join(f'{landmark},"{category}"\n' for landmark, category in categories.items())
        write(root / "train_label_to_category.csv", f"landmark_id,category\n{rows}")
    for ids in landmarks.values():
        for name in ids:
            write(root / "train" / name[0] / name[1] / name[2] / f"{name}.jpg", photo_bytes(name))
    return root


def write_tar(path: Path, members: Mapping[str, bytes], *, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def ground_truth(**changes: Any) -> dict[str, Any]:
    """Return a sound ground truth of two queries and four photos, with top-level keys replaced."""
    gnd = [
        {"bbx": [1, 2.5, 30, 40], "easy": [0, 2], "hard": [1], "junk": []},
        {"bbx": [0.0, 0.0, 9.0, 9.0], "easy": [], "hard": [3], "junk": [0, 1]},
    ]
    return {"imlist": ["a_1", "a_2", "b_1", "b_2"], "qimlist": ["q_1", "q_2"], "gnd": gnd, **changes}


def write_revisited(root: Path, content: object, *, name: str = "set", photos: Sequence[str] = ()) -> Path:
    write(root / f"gnd_{name}.pkl", pickle.dumps(content))
    for photo in photos:
        write(root / "jpg" / f"{photo}.jpg", photo_bytes(photo))
    return root


@dataclass(frozen=True)
class Make:
    """Hand the writers to tests, which can't import this file."""

    write: Callable[..., Path] = write
    photo_bytes: Callable[[str], bytes] = photo_bytes
    gldv2: Callable[..., Path] = write_gldv2
    tar: Callable[..., Path] = write_tar
    truth: Callable[..., dict[str, Any]] = ground_truth
    revisited: Callable[..., Path] = write_revisited


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
