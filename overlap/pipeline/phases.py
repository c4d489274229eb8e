"""The stages of a training: everything at once, or the backbone first and then the rest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from overlap.base.config import NetworkConfig, TrainingConfig
from overlap.base.progress import show_progress
from overlap.pipeline.run import Run
from overlap.pipeline.split import Split
from overlap.study.networks.catalogue import build_network, load_trunk
from overlap.study.networks.checkpoint import (
    NetworkSpec,
    load_saved,
    make_settings,
    read_classifier,
    read_saved,
    size_of,
)
from overlap.study.training.curve import Point

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from overlap.study.training.fit import Hooks
    from overlap.study.training.learner import Learner


@dataclass(frozen=True, eq=False)
class Job:
    """Hold what a training's stages share."""

    run: Run
    label: str
    data: Split
    training: TrainingConfig
    seed: int
    fabric: "Fabric"


@dataclass(frozen=True, eq=False)
class PhaseResult:
    """Hold a trained network with its classifier, what it is, and its curve."""

    learner: "Learner"
    spec: NetworkSpec
    curve: list[Point]


def train_whole(job: Job, network: NetworkConfig, work: Path) -> PhaseResult:
    """Train everything at once; ``work`` is where a cut run's state lies."""
    learner, spec = _start(job, network)
    return PhaseResult(learner, spec, _fit(job, learner, steps=job.training.steps, folder=work))


def train_twice(job: Job, network: NetworkConfig, work: Path) -> PhaseResult:
    """Train the backbone with plain pooling, then freeze it and train the rest (the paper's CiDeR-FT).

    A checkpoint of the whole network gives both stages their start, other weights the backbone's alone.
    """
    n_first = max(1, round(job.training.steps * job.training.first_stage))
    whole = _is_whole(network)
    learner, spec = _start(job, network if whole else network.model_copy(update={"weights": None}))
    plain = f"gem_{network.name.partition('_')[2]}"
    first, _ = _start(job, NetworkConfig(name=plain, weights=None if whole else network.weights))
    if whole:
        _copy_trunk(learner, first)
    before = _fit(job, first, steps=n_first, folder=work / "first")
    _copy_trunk(first, learner)
    after = _fit(job, learner, steps=job.training.steps - n_first, folder=work / "second", frozen=("trunk.",))
    curve = [*before, *(replace(point, step=point.step + n_first) for point in after)]
    return PhaseResult(learner, spec, curve)


def _is_whole(network: NetworkConfig) -> bool:
    saved = None if network.weights is None else read_saved(network.weights)
    return saved is not None and saved.spec.name == network.name


def _copy_trunk(source: "Learner", target: "Learner") -> None:
    trunk = source.network.get_submodule("trunk")
    target.network.get_submodule("trunk").load_state_dict(trunk.state_dict())


STAGES: Mapping[str, Callable[[Job, NetworkConfig, Path], PhaseResult]] = MappingProxyType(
    {"one": train_whole, "two": train_twice}
)


def settings_of(network: NetworkConfig) -> Mapping[str, Any]:
    """Return the table of the network's own method."""
    values: Mapping[str, Any] = getattr(network, network.name.partition("_")[0], {})
    return values


def _start(job: Job, network: NetworkConfig) -> "tuple[Learner, NetworkSpec]":
    """Build a network with the weights that it starts from."""
    from overlap.study.training.learner import Learner

    settings = make_settings(network.name, settings_of(network))
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
            classifier = read_classifier(network.weights, ids) if job.training.classifier == "keep" else None
            if classifier is not None:
                learner.set_classifier(classifier)
    return learner, spec


def _fit(job: Job, learner: "Learner", *, steps: int, folder: Path, frozen: Sequence[str] = ()) -> list[Point]:
    from overlap.study.training.fit import fit

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
def _watched(job: Job, steps: int) -> "Iterator[Hooks]":
    """Show a bar with the latest loss, and say a line ten times a training and at every validation."""
    from overlap.study.training.fit import Hooks
    from overlap.study.training.validation import validate_by_retrieval

    held = job.data.held_out
    validate = validate_by_retrieval(held, batch=job.training.batch) if len(held.labels) else None
    with show_progress(Console(stderr=True, quiet=not job.fabric.is_global_zero)) as begin:
        move, said = begin(job.label, steps), -1

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
