"""Train a network on a version of the training set, and keep what came of it.

Versions differ by landmarks that are left out. All of them share the photos' decoded form, the held-out photos and the
order of everything random, so that what differs between two trainings is the landmarks.
"""

import shutil
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.config import NetworkConfig, TrainingConfig, fingerprint
from overlap.base.errors import DataError
from overlap.pipeline.decoded import decode_photos
from overlap.pipeline.evaluate import choose_network, evaluate_network, name_subject
from overlap.pipeline.phases import STAGES, Job, settings_of
from overlap.pipeline.photos import read_sets
from overlap.pipeline.run import Run, hash_file, require_out
from overlap.pipeline.shards import row_stamp
from overlap.pipeline.split import hold_out, split_photos
from overlap.release.apply import read_removed
from overlap.release.write import REMOVALS_FILE
from overlap.study.evaluation.scores import Evaluation
from overlap.study.networks.checkpoint import Saved, make_settings, save_checkpoint
from overlap.study.training.curve import write_curve

if TYPE_CHECKING:
    from lightning.fabric import Fabric

STEP = "trained"
FULL = "full"
CHECKPOINT_FILE = "checkpoint.pt"
CURVE_FILE = "curve.csv"
_VERSION = 1
# Settings that don't change what comes out.
_NEUTRAL = frozenset({"cache_gb", "checkpoint_every", "seed"})
_NEUTRAL_OR_KEPT = _NEUTRAL | {"classifier"}  # trainings from before that setting kept the classifier


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
    from overlap.study.training.fit import start_fabric

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


def _identify(network: NetworkConfig, training: TrainingConfig) -> tuple[object, ...]:
    """Return what of the settings changes the result; weights count by their bytes."""
    settings = make_settings(network.name, settings_of(network))
    return (
        (network.name, network.dimensions, repr(settings), hash_file(network.weights)),
        training.model_dump(mode="json", exclude=set(_NEUTRAL if training.classifier == "new" else _NEUTRAL_OR_KEPT)),
    )


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
    from overlap.study.training.fit import start_fabric

    fabric = fabric or start_fabric(training)
    work = run.store.root / "training" / whole
    work.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with fabric.rank_zero_first():
            base = read_sets(run).training.images
            decoded = stack.enter_context(decode_photos(run, version.images, base=base, training=training))
        data = split_photos(version.images, decoded, held_out=hold_out(base, training.validation_landmarks))
        job = Job(run, f"train {network.name} {version.name} {seed}", data, training, seed, fabric)
        done = STAGES[training.stages](job, network, work)
        if fabric.is_global_zero:
            saved = Saved(done.spec, data.landmark_ids, version.name, seed, training.steps)
            with run.store.put(STEP, whole) as folder:
                save_checkpoint(
                    folder / CHECKPOINT_FILE, done.learner.network, saved, classifier=done.learner.classifier
                )
                write_curve(folder / CURVE_FILE, done.curve)
            shutil.rmtree(work)
        fabric.barrier()
