"""Train and score networks, many of them: each trial in a process of its own, or one after the other here."""

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import pyarrow as pa

from overlap.base.config import Config, DescriptorsConfig, NetworkConfig, TrainingConfig
from overlap.pipeline.photos import render_world
from overlap.pipeline.run import Run, store_of
from overlap.pipeline.train import Trained, evaluate_checkpoint, train_network, version_without
from overlap.pipeline.versions import Plan
from overlap.study.training.curve import Point, read_curve

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Trial:
    """Say what to train on what.

    Args:
        label: what the scores call the network.
        seed: of the training.
    """

    label: str
    network: NetworkConfig
    training: TrainingConfig
    plan: Plan
    seed: int


@dataclass(frozen=True, eq=False)
class TrialResult:
    """Hold what came of a trial: the checkpoint, its curve, SCORES and QUERY_SCORES."""

    trial: Trial
    trained: Trained
    curve: tuple[Point, ...]
    scores: pa.Table
    query_scores: pa.Table

    @property
    def seconds(self) -> float:
        """Return how long the training took, without validation and reading."""
        settings, before, seconds = self.trial.training, 0, 0.0
        for point in self.curve:
            seconds += (point.step - before) * settings.batch * settings.accumulate / max(point.images_per_s, 1e-9)
            before = point.step
        return seconds


@dataclass(frozen=True)
class _Job:
    config: Config
    trial: Trial


def run_trials(run: Run, trials: Sequence[Trial], *, label: str) -> list[TrialResult]:
    """Train and score, in order of the trials; what is stored is not trained again.

    With ``run.workers = 1`` they go one after the other in this process, on all its cores and with a bar each;
    otherwise so many at a time, each on one core.

    Raises:
        ConfigError: a network's settings are wrong, or a training diverges.
        DataError: photos can't be read.
    """
    if run.config.run.workers == 1:
        return [_run_trial(run, trial) for trial in trials]
    render_world(run)  # by all workers, not by the first while the others wait
    jobs = [_Job(run.config, trial) for trial in trials]
    return run.map_shards(_run_job, jobs, label=label, sizes=[1] * len(jobs))


def evaluation_settings(config: Config) -> DescriptorsConfig:
    """Return how an impact study describes evaluation photos; the network comes with each checkpoint."""
    return DescriptorsConfig(
        size_px=config.impact.size_px,
        scales=config.impact.scales,
        batch=config.descriptors.batch,
        device=config.descriptors.device,
    )


def run_quietly(config: Config) -> Run:
    """Return a run for a worker process: shards are done here, and nothing is said; the parent holds the store."""
    return Run(config, store_of(config), map_here, lambda line: None)


def map_here(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    label: str,  # noqa: ARG001  as MapShards has it
    sizes: Sequence[int],  # noqa: ARG001
) -> list[Result]:
    """Run shards one after the other in this process."""
    return [function(task) for task in tasks]


def _run_job(job: _Job) -> TrialResult:
    with contextlib.redirect_stderr(io.StringIO()):  # the parent draws the bar
        return _run_trial(run_quietly(job.config), job.trial)


def _run_trial(run: Run, trial: Trial) -> TrialResult:
    version = version_without(run, trial.plan.name, trial.plan.without)
    trained = train_network(run, version, network=trial.network, training=trial.training, seed=trial.seed)
    config = run.config.model_copy(update={"descriptors": evaluation_settings(run.config)})
    scorer = replace(run, config=config)
    found = evaluate_checkpoint(scorer, trained, network=trial.label, training_set=trial.plan.name)
    return TrialResult(trial, trained, tuple(read_curve(trained.curve)), found.scores, found.query_scores)
