"""Train a network: batches, augmentation, steps, checkpoints, and the curve that says how it goes.

Everything random in a step comes from the seed and the step's number, so that a run that was cut goes on exactly as if
it had not been. Lightning Fabric brings devices, precision and several processes; started by ``torchrun``, each process
takes its share of every batch.
"""

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from overlap.base.config import TrainingConfig
from overlap.base.errors import ArtifactError, ConfigError
from overlap.study.training.augment import augment, draw
from overlap.study.training.curve import Point, write_curve
from overlap.study.training.learner import Learner, freeze, set_training
from overlap.study.training.reading import Loaded, Photos, read_ahead
from overlap.study.training.schedule import build_optimiser, learning_rate, set_rate

if TYPE_CHECKING:
    from lightning.fabric import Fabric

STATE_FILE = "state.pt"
CURVE_FILE = "curve.csv"


@dataclass(frozen=True)
class Hooks:
    """Say what the loop calls: ``validate`` with the network in evaluation mode, the others for whoever waits."""

    validate: Callable[[nn.Module], float] | None = None
    on_step: Callable[[int], None] = lambda step: None
    on_point: Callable[[Point], None] = lambda point: None


@dataclass(frozen=True, eq=False)
class _Session:
    """Hold what doesn't change while a training runs, but for the weights."""

    learner: Learner
    wrapped: Any
    optimiser: Any
    fabric: "Fabric"
    settings: TrainingConfig
    seed: int
    frozen: Sequence[str]
    folder: Path
    hooks: Hooks


@dataclass
class _Progress:
    """Hold how far it is; ``losses`` are those since the last point."""

    step: int = 0
    points: list[Point] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)
    since: int = 0
    began: float = field(default_factory=time.monotonic)


def start_fabric(settings: TrainingConfig) -> "Fabric":
    """Take the device, or this process's part of what ``torchrun`` started.

    Raises:
        ConfigError: CUDA is asked for and absent, or the batch can't be shared among the processes.
    """
    from lightning.fabric import Fabric

    here, everywhere = (int(os.environ.get(name, "1")) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    if settings.batch % everywhere:
        raise ConfigError(
            f"training.batch = {settings.batch} can't be shared by {everywhere} processes; set a multiple"
        )
    fabric = Fabric(
        accelerator=_find_device(settings.device),
        devices=here,
        num_nodes=everywhere // here,
        strategy="auto" if everywhere == 1 else "ddp_find_unused_parameters_true",
        precision="bf16-mixed" if settings.precision == "bfloat16" else "32-true",
    )
    fabric.launch()
    return fabric


def fit(
    learner: Learner,
    photos: Photos,
    *,
    fabric: "Fabric",
    settings: TrainingConfig,
    seed: int,
    folder: Path,
    hooks: Hooks = Hooks(),
    frozen: Sequence[str] = (),
) -> list[Point]:
    """Train a learner in place, from where ``folder`` says that an earlier run was cut.

    Args:
        seed: of batches, augmentation and the network's own noise.
        folder: where the state and the curve are kept meanwhile.
        frozen: prefixes of the network's parameters that don't learn.

    Returns:
        The curve.

    Raises:
        ConfigError: the loss is not finite any more.
        ArtifactError: the state in the folder is damaged.
    """
    freeze(learner, frozen)
    learner.to(fabric.device)
    if settings.channels_last:
        learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = build_optimiser(learner, settings)
    progress = _restore(folder / STATE_FILE, learner, optimiser)
    if settings.compile:
        learner.network.compile()
    wrapped, prepared = fabric.setup(learner, optimiser)
    set_training(learner, frozen=frozen, settings=settings)
    session = _Session(learner, wrapped, prepared, fabric, settings, seed, frozen, folder, hooks)
    with torch.random.fork_rng(devices=[]), closing(_batches(session, photos, progress.step)) as batches:
        while progress.step < settings.steps:
            progress.losses.append(_take_step(session, batches, step=progress.step))
            progress.step += 1
            hooks.on_step(progress.step)
            _record(session, progress)
            if progress.step % settings.checkpoint_every == 0 or progress.step == settings.steps:
                _save(session, progress)
    return progress.points


def _find_device(kind: str) -> str:
    if kind == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigError('training.device = "cuda", but torch finds no CUDA device here; use "auto" or "cpu"')
    return kind


def _batches(session: _Session, photos: Photos, step: int) -> Generator[Loaded, None, None]:
    """Yield this process's share of the batches from a step on."""
    settings, fabric = session.settings, session.fabric
    share = slice(fabric.global_rank, None, fabric.world_size)
    first = step * settings.accumulate
    return read_ahead(photos, batch=settings.batch, seed=session.seed, first=first, share=share)


def _take_step(session: _Session, batches: Iterator[Loaded], *, step: int) -> Tensor:
    """Do one step of the optimiser and return its loss."""
    settings, fabric = session.settings, session.fabric
    set_rate(session.optimiser, learning_rate(step, settings))
    losses = []
    for part in range(settings.accumulate):
        photos, labels = _prepare(session, next(batches))
        with fabric.no_backward_sync(session.wrapped, enabled=part < settings.accumulate - 1):
            loss = session.wrapped(photos, labels) / settings.accumulate
            fabric.backward(loss)
        losses.append(loss.detach())
    session.optimiser.step()
    session.optimiser.zero_grad(set_to_none=True)
    return torch.stack(losses).sum()


def _prepare(session: _Session, loaded: Loaded) -> tuple[Tensor, Tensor]:
    """Bring a batch to the device and augment it there; seed what the network itself draws."""
    settings, fabric = session.settings, session.fabric
    drawn = draw(
        settings.batch, settings=settings, generator=torch.Generator().manual_seed(_mix(session.seed, loaded.number))
    )
    torch.manual_seed(_mix(session.seed, loaded.number, fabric.global_rank + 1))
    pixels = torch.from_numpy(loaded.pixels)
    pixels = pixels.pin_memory() if fabric.device.type == "cuda" else pixels
    photos = pixels.to(fabric.device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
    photos = augment(photos, drawn.part(slice(fabric.global_rank, None, fabric.world_size)))
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    return photos.contiguous(memory_format=layout), torch.from_numpy(loaded.labels).to(fabric.device)


def _mix(*numbers: int) -> int:
    """Return a seed that depends on all numbers."""
    return int(np.random.SeedSequence([number % 2**63 for number in numbers]).generate_state(1, np.uint64)[0] >> 1)


def _record(session: _Session, progress: _Progress) -> None:
    """Add a point to the curve where one is due."""
    settings = session.settings
    is_last = progress.step == settings.steps
    validates = session.hooks.validate is not None and (is_last or progress.step % settings.validate_every == 0)
    if not (is_last or validates or progress.step % settings.log_every == 0):
        return
    reduced = cast(Tensor, session.fabric.all_reduce(torch.stack(progress.losses), reduce_op="mean"))
    losses: list[float] = reduced.tolist()
    _check_finite(losses, progress, settings)
    seconds = time.monotonic() - progress.began
    point = Point(
        progress.step,
        float(np.mean(losses)),
        learning_rate(progress.step - 1, settings),
        round((progress.step - progress.since) * settings.batch * settings.accumulate / max(seconds, 1e-9), 1),
        _validate(session) if validates else None,
    )
    progress.points.append(point)
    progress.losses = []
    if session.fabric.is_global_zero:
        write_curve(session.folder / CURVE_FILE, progress.points)
        session.hooks.on_point(point)
    progress.since, progress.began = progress.step, time.monotonic()


def _check_finite(losses: Sequence[float], progress: _Progress, settings: TrainingConfig) -> None:
    bad = np.flatnonzero(~np.isfinite(losses))
    if len(bad):
        step = progress.step - len(losses) + int(bad[0]) + 1
        raise ConfigError(
            f"the training diverged: the loss of step {step} is {losses[bad[0]]} at learning rate "
            f"{learning_rate(step - 1, settings):.3g}; lower training.learning_rate, set training.warmup_steps, or "
            'try training.precision = "float32"'
        )


def _validate(session: _Session) -> float | None:
    """Validate in the first process; the others wait."""
    found = None
    session.learner.eval()
    if session.fabric.is_global_zero and session.hooks.validate is not None:
        with torch.no_grad():
            found = session.hooks.validate(session.learner.network)
    session.fabric.barrier()
    set_training(session.learner, frozen=session.frozen, settings=session.settings)
    return found


def _save(session: _Session, progress: _Progress) -> None:
    """Keep everything that a run needs to go on, whole or not at all."""
    if not session.fabric.is_global_zero:
        return
    path = session.folder / STATE_FILE
    draft = path.with_suffix(".draft")
    content = {
        "learner": session.learner.state_dict(),
        "optimiser": session.optimiser.optimizer.state_dict(),
        "step": progress.step,
        "losses": [loss.item() for loss in progress.losses],
        "points": [asdict(point) for point in progress.points],
    }
    torch.save(content, draft)
    draft.replace(path)


def _restore(path: Path, learner: Learner, optimiser: torch.optim.Optimizer) -> _Progress:
    if not path.exists():
        return _Progress()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        learner.load_state_dict(content["learner"])
        optimiser.load_state_dict(content["optimiser"])
        points = [Point(**point) for point in content["points"]]
        losses = [torch.tensor(loss, device=learner.classifier.device) for loss in content["losses"]]
        return _Progress(content["step"], points, losses, content["step"])
    except Exception as error:  # torch.load raises nearly every kind on damaged bytes
        raise ArtifactError(
            f"{path} can't be read ({type(error).__name__}); delete it, and the training begins anew"
        ) from error
