"""Train a network on a version of the training set, and keep what came of it.

Versions differ by landmarks that are left out. All of them share the photos' decoded form, the held-out photos and the
order of everything random, so that what differs between two trainings is the landmarks.
"""

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from overlap.config import NetworkConfig, TrainingConfig, fingerprint
from overlap.errors import DataError
from overlap.evaluation.scores import Evaluation
from overlap.manifests.apply import read_removed
from overlap.manifests.release import REMOVALS_FILE
from overlap.networks.catalogue import build_network, load_trunk
from overlap.networks.checkpoint import (
    NetworkSpec,
    Saved,
    load_saved,
    make_settings,
    read_classifier,
    read_saved,
    save_checkpoint,
    size_of,
)
from overlap.steps.decoded import Decoded, decode_photos
from overlap.steps.evaluate import choose_network, evaluate_network, name_subject
from overlap.steps.photos import read_sets
from overlap.steps.run import Run, hash_file, require_out, row_stamp
from overlap.training.curve import Point, write_curve
from overlap.workers import show_bar

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from overlap.training.fit import Hooks, Photos
    from overlap.training.learner import Learner

STEP = "trained"
FULL = "full"
CHECKPOINT_FILE = "checkpoint.pt"
CURVE_FILE = "curve.csv"
_VERSION = 1
# Held-out photos a landmark, and how many a landmark must have to give them.
_HELD_OUT, _LEAST = 2, 4
# Settings that don't change what comes out.
_NEUTRAL = frozenset({"cache_gb", "checkpoint_every", "seed"})


@dataclass(frozen=True, eq=False)
class Version:
    """Hold a version of the training set.

    Args:
        name: what the scores call it.
        images: IMAGES, with a landmark each.
    """

    name: str
    images: pa.Table


@dataclass(frozen=True)
class Trained:
    """Say where a trained network lies.

    Args:
        checkpoint: loads with ``descriptors.kind = "network"``.
        curve: CSV of step, loss, learning_rate, images_per_s, validation_map.
        fingerprint: of everything that it depends on.
    """

    checkpoint: Path
    curve: Path
    fingerprint: str


def full_version(run: Run) -> Version:
    """Return the config's whole training set."""
    return Version(FULL, read_sets(run).training.images)


def version_without(run: Run, name: str, landmark_ids: Collection[int]) -> Version:
    """Return the config's training set without some landmarks.

    Raises:
        DataError: a landmark is not in it.
    """
    images = read_sets(run).training.images
    unknown = set(landmark_ids) - set(images["landmark_id"].to_pylist())
    if unknown:
        raise DataError(
            f"version {name!r}: landmark {min(unknown)} and {len(unknown) - 1} others are not in the training set; "
            "name landmarks of the config's training set"
        )
    removed = pc.is_in(images["landmark_id"], pa.array(sorted(landmark_ids), pa.int64()))
    return Version(name, images.filter(pc.invert(removed)))


def version_of_release(run: Run, path: Path) -> Version:
    """Return the config's training set without the landmarks of a published release.

    Args:
        path: the release's folder, or its removals.csv.

    Raises:
        DataError: the list can't be read, or names a landmark that is not in the training set.
    """
    removals = path / REMOVALS_FILE if path.is_dir() else path
    place = removals.absolute()
    return version_without(
        run, place.parent.name if place.name == REMOVALS_FILE else place.stem, read_removed(removals)
    )


def train_config(run: Run, *, without: Path | None = None, out: Path | None = None) -> Trained:
    """Train what the config says, on its whole training set or without the landmarks of a release.

    Args:
        without: a release's folder, or its removals.csv.
        out: where to copy the checkpoint.

    Raises:
        ConfigError: the settings are wrong, or the training diverges.
        DataError: a list or too many photos can't be read.
    """
    from overlap.training.fit import start_fabric

    if out is not None:
        require_out(out)
    config = run.config
    fabric = start_fabric(config.training)
    with fabric.rank_zero_first():
        version = full_version(run) if without is None else version_of_release(run, without)
    seed = config.training.seed
    trained = train_network(run, version, network=config.network, training=config.training, seed=seed, fabric=fabric)
    if out is not None and fabric.is_global_zero:
        shutil.copyfile(trained.checkpoint, out)
    return trained


def train_network(
    run: Run,
    version: Version,
    *,
    network: NetworkConfig,
    training: TrainingConfig,
    seed: int,
    fabric: "Fabric | None" = None,
) -> Trained:
    """Train a network on a version, once: what is stored is not trained again, and what was cut goes on.

    Args:
        seed: of the network's start, the batches and everything else that is random.
        fabric: what ``start_fabric`` gave, where several processes train together.

    Raises:
        ConfigError: the network's settings are wrong, its weights don't fit, or the training diverges.
        DataError: a landmark's photos can't be read.
    """
    photos = [[*row_stamp(row), row["landmark_id"]] for row in version.images.to_pylist()]
    whole = fingerprint(STEP, _VERSION, *_identify(network, training), seed, photos)
    if not run.store.exists(STEP, whole):
        _train(run, version, network=network, training=training, seed=seed, whole=whole, fabric=fabric)
    folder = run.store.get(STEP, whole)
    return Trained(folder / CHECKPOINT_FILE, folder / CURVE_FILE, whole)


def evaluate_checkpoint(
    run: Run, trained: Trained | Path, *, network: str | None = None, training_set: str | None = None
) -> Evaluation:
    """Score a trained network on the config's evaluation sets, at the sizes of its section [descriptors].

    Args:
        network: the name in the scores; by default the checkpoint's.
        training_set: likewise.
    """
    path = trained if isinstance(trained, Path) else trained.checkpoint
    settings = choose_network(run.config.descriptors, checkpoint=path, exported=None, network=None)
    subject = name_subject(settings, network=network, training_set=training_set, seed=None)
    return evaluate_network(run, settings, subject=subject)


@dataclass(frozen=True, eq=False)
class _Data:
    """Hold what is trained on, what is held out, and the landmarks in the order of their labels."""

    photos: "Photos"
    held_out: "Photos"
    landmark_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Job:
    """Hold what a training's stages share."""

    run: Run
    label: str
    data: _Data
    training: TrainingConfig
    seed: int
    fabric: "Fabric"


def _identify(network: NetworkConfig, training: TrainingConfig) -> tuple[object, ...]:
    """Return what of the settings changes the result; weights count by their bytes."""
    settings = make_settings(network.name, _values(network))
    return (
        (network.name, network.dimensions, repr(settings), hash_file(network.weights)),
        training.model_dump(mode="json", exclude=set(_NEUTRAL)),
    )


def _values(network: NetworkConfig) -> dict[str, object]:
    values: dict[str, object] = getattr(network, network.name.partition("_")[0], {})
    return values


def _train(
    run: Run,
    version: Version,
    *,
    network: NetworkConfig,
    training: TrainingConfig,
    seed: int,
    whole: str,
    fabric: "Fabric | None",
) -> None:
    from overlap.training.fit import start_fabric

    fabric = fabric or start_fabric(training)
    work = run.store.root / "training" / whole
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with fabric.rank_zero_first():
            base = read_sets(run).training.images
            decoded = stack.enter_context(decode_photos(run, version.images, base=base, training=training))
        data = _arrange(version, decoded, held_out=_hold_out(base, training.validation_landmarks))
        job = _Job(run, f"train {network.name} {version.name} {seed}", data, training, seed, fabric)
        learner, spec, curve = _STAGES[training.stages](job, network, work)
        if fabric.is_global_zero:
            saved = Saved(spec, data.landmark_ids, version.name, seed, training.steps)
            with run.store.put(STEP, whole) as folder:
                save_checkpoint(folder / CHECKPOINT_FILE, learner.network, saved, classifier=learner.classifier)
                write_curve(folder / CURVE_FILE, curve)
            shutil.rmtree(work)
        fabric.barrier()


def _hold_out(base: pa.Table, n_landmarks: int) -> set[str]:
    """Choose the photos that no version is trained on; landmarks and photos are chosen by the hash of their ids."""
    if not n_landmarks:
        return set()
    counts = pc.value_counts(base["landmark_id"])
    large = [each["values"] for each in counts.to_pylist() if each["counts"] >= _LEAST]
    chosen = sorted(large, key=_hash)[:n_landmarks]
    photos = base.filter(pc.is_in(base["landmark_id"], pa.array(chosen, pa.int64())))
    by_landmark: dict[int, list[str]] = {}
    for image_id, landmark_id in zip(photos["image_id"].to_pylist(), photos["landmark_id"].to_pylist(), strict=True):
        by_landmark.setdefault(landmark_id, []).append(image_id)
    return {image_id for ids in by_landmark.values() for image_id in sorted(ids, key=_hash)[:_HELD_OUT]}


def _hash(value: object) -> str:
    return sha256(str(value).encode()).hexdigest()


def _arrange(version: Version, decoded: Decoded, *, held_out: Collection[str]) -> _Data:
    """Split the readable photos into those trained on and those held out, and number the landmarks by their ids."""
    images = version.images.take(decoded.rows)
    landmarks = images["landmark_id"].to_numpy()
    is_held = np.array([image_id in held_out for image_id in images["image_id"].to_pylist()], dtype=bool)
    trained, held = np.flatnonzero(~is_held), np.flatnonzero(is_held)
    pairs = [row for row in held if np.count_nonzero(landmarks[held] == landmarks[row]) > 1]
    landmark_ids, labels = np.unique(landmarks[trained], return_inverse=True)
    return _Data(
        _part(decoded, trained, labels.astype(np.int64)),
        _part(decoded, np.array(pairs, dtype=np.int64), landmarks[pairs]),
        tuple(landmark_ids.tolist()),
    )


def _part(decoded: Decoded, rows: NDArray[np.int64], labels: NDArray[np.int64]) -> "Photos":
    from overlap.training.fit import Photos

    return Photos(labels, decoded.groups[rows], decoded.sizes, lambda chosen, size: decoded.load(rows[chosen], size))


def _train_whole(job: _Job, network: NetworkConfig, work: Path) -> "tuple[Learner, NetworkSpec, list[Point]]":
    """Train everything at once."""
    learner, spec = _start(job, network)
    return learner, spec, _fit(job, learner, steps=job.training.steps, folder=work)


def _train_twice(job: _Job, network: NetworkConfig, work: Path) -> "tuple[Learner, NetworkSpec, list[Point]]":
    """Train the backbone with plain pooling, then freeze it and train the rest (the paper's CiDeR-FT)."""
    plain = NetworkConfig(name=f"gem_{network.name.partition('_')[2]}", weights=network.weights)
    n_first = max(1, round(job.training.steps * job.training.first_stage))
    first, _ = _start(job, plain)
    before = _fit(job, first, steps=n_first, folder=work / "first")
    learner, spec = _start(job, network.model_copy(update={"weights": None}))
    trunk = first.network.get_submodule("trunk")
    learner.network.get_submodule("trunk").load_state_dict(trunk.state_dict())
    after = _fit(job, learner, steps=job.training.steps - n_first, folder=work / "second", frozen=("trunk.",))
    return learner, spec, [*before, *(replace(point, step=point.step + n_first) for point in after)]


_STAGES = MappingProxyType({"one": _train_whole, "two": _train_twice})


def _start(job: _Job, network: NetworkConfig) -> "tuple[Learner, NetworkSpec]":
    """Build a network with the weights that it starts from."""
    from overlap.training.learner import Learner

    settings = make_settings(network.name, _values(network))
    built = build_network(network.name, dimensions=network.dimensions, seed=job.seed, settings=settings)
    spec = NetworkSpec(network.name, size_of(built), settings)
    ids = job.data.landmark_ids
    learner = Learner(built, dimensions=spec.dimensions, n_landmarks=len(ids), settings=job.training, seed=job.seed)
    if network.weights is not None:
        saved = read_saved(network.weights)
        if saved is None:
            load_trunk(built, network.weights)
        else:
            load_saved(built, network.weights, saved, name=network.name)
            learner.set_classifier(read_classifier(network.weights, ids))
    return learner, spec


def _fit(job: _Job, learner: "Learner", *, steps: int, folder: Path, frozen: Sequence[str] = ()) -> list[Point]:
    from overlap.training.fit import fit

    folder.mkdir(exist_ok=True)
    settings = job.training.model_copy(update={"steps": steps})
    with _watched(job, steps) as hooks:
        return fit(
            learner,
            job.data.photos,
            fabric=job.fabric,
            settings=settings,
            seed=job.seed,
            folder=folder,
            hooks=hooks,
            frozen=frozen,
        )


@contextmanager
def _watched(job: _Job, steps: int) -> "Iterator[Hooks]":
    """Show a bar with the latest loss, and say a line ten times a training and at every validation."""
    from overlap.training.fit import Hooks
    from overlap.training.validation import validate_by_retrieval

    held = job.data.held_out
    validate = validate_by_retrieval(held, batch=job.training.batch) if len(held.labels) else None
    with show_bar(job.label, steps, visible=job.fabric.is_global_zero) as move:
        said = -1

        def on_point(point: Point) -> None:
            nonlocal said
            move(point.step, f"loss {point.loss:.3f}")
            if point.validation_map is not None or point.step * 10 // steps > said:
                said = point.step * 10 // steps
                job.run.say(f"{job.label}: {_describe(point, steps)}")

        yield Hooks(validate, lambda step: move(step, None), on_point)


def _describe(point: Point, steps: int) -> str:
    text = f"step {point.step} of {steps}, loss {point.loss:.3f}, {point.images_per_s:.0f} photos/s"
    return text if point.validation_map is None else f"{text}, held-out mAP {100 * point.validation_map:.1f}"
