"""Write a synthetic world to disk in the layouts of Google Landmarks v2 and of the revisited evaluation sets.

The world is a function of its settings alone: the number of workers changes no byte.
"""

import fcntl
import json
import os
import pickle
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import numpy as np

from overlap.base.config import SyntheticConfig
from overlap.base.errors import ArtifactError, DataError
from overlap.base.images import encode_jpeg
from overlap.synthetic.buildings import Design, Panel, build, build_inside
from overlap.synthetic.cast import Cast, EvaluationPhoto, draw_cast, seed_of
from overlap.synthetic.scene import photograph
from overlap.synthetic.truth import write_rows, write_truth

VERSION = 2
EVALUATION_NAMES = ("roxford5k", "rparis6k")


@dataclass(frozen=True)
class Shot:
    """Hold one photo to take: where it goes, how it looks, its random stream."""

    path: Path
    view: str
    light: str
    seed: tuple[int, ...]


@dataclass(frozen=True)
class RenderTask:
    """Hold all photos of one building, so that it is built once."""

    design: Design
    size_px: int
    shots: tuple[Shot, ...]


@dataclass(frozen=True)
class Taken:
    """Hold what became of a shot: the box (x0, y0, x1, y1) of the building in it."""

    path: Path
    box_px: tuple[float, float, float, float]


MapTasks: TypeAlias = Callable[[Callable[[RenderTask], list[Taken]], Sequence[RenderTask]], Iterable[list[Taken]]]


def write_world(
    root: Path,
    settings: SyntheticConfig,
    *,
    evaluation_names: Sequence[str] = EVALUATION_NAMES,
    map_tasks: MapTasks = map,
) -> None:
    """Write the world below ``root``, whole or not at all; a finished world of the same settings stays as it is.

    Of several processes that want it at the same time, the first renders and the others wait.

    Below root: ``gldv2/`` (train_clean.csv, train.csv, train_label_to_category.csv, train_attribution.csv, train/),
    for every evaluation set NAME ``NAME/jpg/`` and ``NAME/gnd_NAME.pkl``, and ``truth/``.

    Args:
        map_tasks: runs the rendering, like the built-in ``map``; give the ``map`` of a process pool for speed.

    Raises:
        DataError: the folder holds something else.
        ConfigError: there are too few landmarks for the evaluation sets.
        ArtifactError: the disk is full or not writable.
    """
    if _is_finished(root, settings, evaluation_names):
        return
    cast = draw_cast(settings, evaluation_names)
    draft = root.with_name(f".{root.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
    try:
        with _alone(root):
            if not _is_finished(root, settings, evaluation_names):
                draft.mkdir(parents=True)
                _write(draft, settings, evaluation_names, cast, map_tasks)
                draft.replace(root)
    except OSError as error:
        raise ArtifactError(
            f"the synthetic world was not written to {root}: {error.strerror or error}; "
            "free some space or choose another folder, then run the same command again"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Let one process at a time work on a folder, by a lock beside it."""
    path = root.with_name(f".{root.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # who waits for it holds it open, and finds the folder finished


def _is_finished(root: Path, settings: SyntheticConfig, evaluation_names: Sequence[str]) -> bool:
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = json.loads((root / "world.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(f"{root} holds something that is no synthetic world; choose another folder") from None
    if found != _identity(settings, evaluation_names):
        raise DataError(
            f"{root} holds a synthetic world with other settings ({root / 'world.json'}); "
            "choose another folder, or delete this one"
        )
    return True


def _identity(settings: SyntheticConfig, evaluation_names: Sequence[str]) -> dict[str, object]:
    return {
        "version": VERSION,
        "settings": settings.model_dump(mode="json"),
        "evaluation_names": list(evaluation_names),
    }


def _write(
    draft: Path, settings: SyntheticConfig, evaluation_names: Sequence[str], cast: Cast, map_tasks: MapTasks
) -> None:
    tasks = plan_tasks(draft, settings, cast)
    for folder in sorted({shot.path.parent for task in tasks for shot in task.shots}):
        folder.mkdir(parents=True, exist_ok=True)
    boxes = {taken.path: taken.box_px for done in map_tasks(render_photos, tasks) for taken in done}
    _write_lists(draft / "gldv2", settings, cast)
    for number, name in enumerate(evaluation_names):
        rng = np.random.default_rng(seed_of(settings, 3, number))
        _write_ground_truth(draft / name, name, cast, boxes, rng)
    write_truth(draft / "truth", cast)
    identity = json.dumps(_identity(settings, evaluation_names), indent=2, sort_keys=True)
    (draft / "world.json").write_text(identity + "\n", encoding="utf-8")


def plan_tasks(root: Path, settings: SyntheticConfig, cast: Cast) -> list[RenderTask]:
    """Return one task a building, with the photos to take of it below ``root``."""
    shots: dict[str, list[Shot]] = {building.key: [] for building in cast.buildings}
    for number, photo in enumerate(cast.photos):
        path = root / "gldv2" / "train" / Path(*photo.image_id[:3]) / f"{photo.image_id}.jpg"
        shots[photo.building].append(Shot(path, photo.view, photo.light, seed_of(settings, 2, 0, number)))
    for number, view in enumerate(cast.evaluation):
        path = _evaluation_path(root / view.evaluation_set, view)
        shots[view.building].append(Shot(path, view.view, view.light, seed_of(settings, 2, 1, number)))
    return [
        RenderTask(building.design, settings.size_px, tuple(shots[building.key]))
        for building in cast.buildings
        if shots[building.key]
    ]


def render_photos(task: RenderTask) -> list[Taken]:
    """Build the task's building, take its photos and write them as JPEG."""
    scale = max(8.0, task.size_px / 25)
    outside: list[Panel] = build(task.design, scale) if any(shot.view != "inside" for shot in task.shots) else []
    inside: list[Panel] = build_inside(task.design, scale) if any(shot.view == "inside" for shot in task.shots) else []
    return [_take(inside if shot.view == "inside" else outside, shot, task.size_px) for shot in task.shots]


def _take(panels: Sequence[Panel], shot: Shot, size_px: int) -> Taken:
    rng = np.random.default_rng(shot.seed)
    pixels, box = photograph(panels, rng, view=shot.view, light=shot.light, size_px=size_px)
    shot.path.write_bytes(encode_jpeg(pixels, quality=int(rng.integers(66, 93))))
    return Taken(shot.path, box)


def _evaluation_path(folder: Path, photo: EvaluationPhoto) -> Path:
    return folder / "jpg" / f"{photo.name}.jpg"


def _write_lists(folder: Path, settings: SyntheticConfig, cast: Cast) -> None:
    """Write the training set's lists as upstream does: classes by id, photos in no order."""
    images: dict[int, list[str]] = {landmark.landmark_id: [] for landmark in cast.landmarks if landmark.clean}
    for photo in cast.photos:
        if photo.clean:
            images[photo.landmark_id].append(photo.image_id)
    clean = ((landmark_id, " ".join(ids)) for landmark_id, ids in images.items())
    write_rows(folder / "train_clean.csv", ("landmark_id", "images"), clean)
    order = np.random.default_rng(seed_of(settings, 4)).permutation(len(cast.photos))
    photos = [cast.photos[place] for place in order]
    listed = ((photo.image_id, _url(photo.image_id), photo.landmark_id) for photo in photos)
    write_rows(folder / "train.csv", ("id", "url", "landmark_id"), listed)
    authors = (
        (p.image_id, _url(p.image_id), "Synthetic, no author", _LICENSE, f"File:{p.image_id}.jpg") for p in photos
    )
    write_rows(folder / "train_attribution.csv", ("id", "url", "author", "license", "title"), authors)
    categories = (
        (landmark.landmark_id, _category(landmark.name, turn)) for turn, landmark in enumerate(cast.landmarks)
    )
    write_rows(folder / "train_label_to_category.csv", ("landmark_id", "category"), categories)


_LICENSE = "https://creativecommons.org/publicdomain/zero/1.0/"


def _url(image_id: str) -> str:
    return f"https://upload.example.invalid/synthetic/{image_id}.jpg"


def _category(name: str, turn: int) -> str:
    """Return the category's address: underscores for blanks, every other one with percent-escapes, as in the wild."""
    title = name.replace(" ", "_")
    return f"http://commons.wikimedia.org/wiki/Category:{quote(title, safe='_()') if turn % 2 else title}"


def _write_ground_truth(
    folder: Path, name: str, cast: Cast, boxes: dict[Path, tuple[float, float, float, float]], rng: np.random.Generator
) -> None:
    photos = [photo for photo in cast.evaluation if photo.evaluation_set == name]
    queries = [photo for photo in photos if photo.query]
    database = [photo for photo in photos if not photo.query]
    database = [database[place] for place in rng.permutation(len(database))]
    gnd = [
        {"bbx": [float(round(edge, 1)) for edge in boxes[_evaluation_path(folder, query)]], **_labels(query, database)}
        for query in queries
    ]
    names = {"imlist": [photo.name for photo in database], "qimlist": [query.name for query in queries]}
    (folder / f"gnd_{name}.pkl").write_bytes(pickle.dumps({"gnd": gnd, **names}, protocol=2))


def _labels(query: EvaluationPhoto, database: Sequence[EvaluationPhoto]) -> dict[str, list[int]]:
    labels: dict[str, list[int]] = {"easy": [], "hard": [], "junk": []}
    for place, photo in enumerate(database):
        if photo.building == query.building:
            labels[_label(photo)].append(place)
    return labels


def _label(photo: EvaluationPhoto) -> str:
    if photo.view in ("side", "back"):
        return "junk"
    return "easy" if photo.view in ("easy", "front") and photo.light == "day" else "hard"
