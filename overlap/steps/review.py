"""Between machine and people: the review queue, and votes in and out."""

from pathlib import Path

import pyarrow as pa

from overlap.config import Config, fingerprint
from overlap.review.queue import build_items
from overlap.review.store import ReviewStore, open_store
from overlap.review.votes import export_votes as export_file
from overlap.review.votes import import_votes as import_file
from overlap.review.votes import read_truth
from overlap.review.votes import simulate_votes as simulate_reviewers
from overlap.steps.run import Run, find_current, recorded
from overlap.store import read_table, write_table
from overlap.tables import REVIEW_ITEMS
from overlap.verify.pairs import threshold_of


def open_reviews(config: Config) -> ReviewStore:
    """Open the review store of a config: its database, or SQLite in the store's folder."""
    return open_store(config.review.database or config.store / "reviews.sqlite")


def build_queue(run: Run, verified: pa.Table, text: pa.Table) -> pa.Table:
    """Put the pairs at or above the threshold, and the text candidates, before the reviewers.

    Returns:
        REVIEW_ITEMS of this run; the review store keeps earlier ones too.
    """
    with recorded(run, "queue") as finish:
        items = build_items(verified, text, threshold=threshold_of(run.config.verify))
        whole = fingerprint("queue", items["item_id"].to_pylist(), items["score"].to_pylist())
        if not run.store.exists("queue", whole):
            with run.store.put("queue", whole) as folder:
                write_table(folder, "items", items)
        open_reviews(run.config).add_items(items)
        finish(whole, items=items.num_rows, groups=len(set(items["group_id"].to_pylist())))
    return items


def read_queue(config: Config) -> pa.Table:
    """Return the REVIEW_ITEMS of the last 'curate'."""
    return read_table(find_current(config, "queue"), "items", REVIEW_ITEMS)


def import_votes(config: Config, path: Path) -> int:
    """Add the votes of a CSV file and return how many were new."""
    return import_file(open_reviews(config), path)


def export_votes(config: Config, path: Path) -> int:
    """Write every vote as CSV and return how many there are."""
    return export_file(open_reviews(config), path)


def simulate_votes(config: Config, truth: Path, *, reviewers: int, error_rate: float, seed: int) -> int:
    """Let simulated reviewers answer every item of the review store; return how many votes were new."""
    reviews = open_reviews(config)
    items = reviews.read_items()
    votes = simulate_reviewers(items, read_truth(truth), reviewers=reviewers, error_rate=error_rate, seed=seed)
    return reviews.merge_votes(items, votes)
