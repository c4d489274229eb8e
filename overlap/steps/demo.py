"""The whole job on a synthetic world, with simulated reviewers."""

from pathlib import Path

from overlap.steps.pipeline import curate
from overlap.steps.publish import Published, publish
from overlap.steps.review import simulate_votes
from overlap.steps.run import Run

REVIEWERS = 3


def run_demo(run: Run) -> Published:
    """Render, curate, let faultless reviewers vote, publish."""
    curate(run)
    truth = Path(run.config.train.root) / "truth" / "true_pairs.csv"
    simulate_votes(run.config, truth, reviewers=REVIEWERS, error_rate=0.0, seed=0)
    return publish(run)
