"""The whole job on a synthetic world, with simulated reviewers, and then a queue for whoever wants to try the app."""

from pathlib import Path

from overlap.pipeline.curate import curate
from overlap.pipeline.desk import ask_all_again
from overlap.pipeline.publish import Published, publish, release_folder
from overlap.pipeline.review import open_reviews, simulate_votes
from overlap.pipeline.run import Run

REVIEWERS = 3


def run_demo(run: Run) -> Published | None:
    """Render, curate, let faultless reviewers vote, publish, and put everything before people once more.

    Returns:
        What was published; None when people have voted since an earlier demo, whose release stays.
    """
    curate(run)
    truth = Path(run.config.train.root) / "truth" / "true_pairs.csv"
    simulate_votes(run.config, truth, reviewers=REVIEWERS, error_rate=0.0, seed=0)
    if release_folder(run.config).is_dir() and _have_people_voted(run):
        return None
    published = publish(run)
    ask_all_again(run.config, "demo")
    return published


def _have_people_voted(run: Run) -> bool:
    names = open_reviews(run.config).read_votes()["reviewer"].to_pylist()
    return any(not name.startswith("simulated-") for name in names)
