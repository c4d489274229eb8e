from pathlib import Path

import pytest

from overlap.base.config import NetworkConfig, TrainingConfig, load_config
from overlap.base.tables import QUERY_SCORES, SCORES
from overlap.pipeline import trials
from overlap.pipeline.train import Trained
from overlap.pipeline.trials import Trial, TrialResult, evaluation_settings, map_here, run_quietly, run_trials
from overlap.pipeline.versions import Plan
from overlap.study.training.curve import Point


def trial(label="gem_small", *, batch=32, accumulate=1):
    training = TrainingConfig(batch=batch, accumulate=accumulate)
    return Trial(label, NetworkConfig(name="gem_small"), training, Plan("full", ()), 0)


def outcome(of, *points):
    return TrialResult(of, Trained(Path("c"), Path("v"), "f"), points, SCORES.empty_table(), QUERY_SCORES.empty_table())


def test_the_duration_is_that_of_the_training_alone():
    points = (Point(10, 1.0, 0.1, 100.0), Point(30, 1.0, 0.1, 400.0, 0.5))
    assert outcome(trial(batch=20), *points).seconds == pytest.approx(10 * 20 / 100 + 20 * 20 / 400)
    assert outcome(trial(batch=20, accumulate=2), *points).seconds == pytest.approx(2 * (2 + 1))
    assert outcome(trial()).seconds == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_trials_come_back_in_order_here_or_in_workers(workers, tiny_photos, monkeypatch):
    monkeypatch.setattr(trials, "_run_trial", lambda run, each: outcome(each))
    config = load_config(tiny_photos / "config.toml", [f"run.workers={workers}"])
    asked = [trial(label) for label in "abc"]
    assert [each.trial for each in run_trials(run_quietly(config), asked, label="l")] == asked


def test_evaluation_photos_are_described_as_the_study_says(tiny_photos):
    settings = ["impact.size_px=96", "impact.scales=[0.7, 1.0]", "descriptors.size_px=640", "descriptors.batch=3"]
    found = evaluation_settings(load_config(tiny_photos / "config.toml", settings))
    assert (found.size_px, found.scales, found.batch) == (96, (0.7, 1.0), 3)


def test_shards_are_done_here():
    assert map_here(lambda number: number + 1, [1, 2], label="l", sizes=[1, 1]) == [2, 3]
