"""How far a run is."""

from collections import Counter
from typing import TYPE_CHECKING

from overlap.base.config import Config
from overlap.base.store import Store
from overlap.base.tables import STATES
from overlap.decisions.decide import decide_items, describe_review
from overlap.pipeline.decisions import rule_of
from overlap.pipeline.declared import recorded_steps
from overlap.pipeline.journal import add_up, read_last_run
from overlap.pipeline.publish import release_folder
from overlap.pipeline.review import open_reviews
from overlap.pipeline.run import find_record, is_made_by, read_record

if TYPE_CHECKING:
    from rich.console import Group


def render_status(config: Config) -> "Group":
    """Return the steps with their state, the review's progress and the release, for a terminal."""
    from rich.console import Group
    from rich.table import Table

    steps = Table("step", "state", "counts", "seconds", "finished", box=None, pad_edge=False, header_style="bold")
    steps.columns[3].justify = "right"
    for step in recorded_steps():
        steps.add_row(step, *_row(config, step))
    lines = [*_rate_lines(config), *_review_lines(config), _release_line(config)]
    return Group(f"{config.name}: {config.store}", steps, *lines)


def _row(config: Config, step: str) -> tuple[str, str, str, str]:
    record = find_record(config, step) or read_record(Store(config.store), step)
    if record is None:
        return "not done", "", "", ""
    state = "done" if is_made_by(config, record) else "outdated"
    counts = "\n".join(f"{count:,} {name.replace('_', ' ')}" for name, count in record.counts.items())
    return state, counts, f"{record.seconds:,.1f}", record.finished_at[:16].replace("T", " ")


def _rate_lines(config: Config) -> list[str]:
    """Say how fast the last run was, where it had something to do."""
    return [
        f"last run, {work.step}: {work.n:,} in {work.seconds:,.1f} s, {work.rate:,.1f} a second, at most "
        f"{work.peak_mb:,.0f} MB a worker"
        for work in add_up(read_last_run(Store(config.store)))
        if work.n_shards
    ]


def _review_lines(config: Config) -> list[str]:
    reviews = open_reviews(config)
    items, votes = reviews.read_items(), reviews.counting_votes()
    voted = set(votes["item_id"].to_pylist())
    by_reviewer = votes.group_by("reviewer").aggregate([("item_id", "count")]).sort_by("reviewer").to_pylist()
    lines = [f"review: {len(voted):,} of {items.num_rows:,} items have a vote"]
    if items.num_rows:
        rule = rule_of(config)
        decisions, *needed = decide_items(rule, items=items, votes=votes)
        states = Counter(decisions["state"].to_pylist())
        counted = ", ".join(f"{states[name]:,} {name.replace('_', ' ')}" for name in STATES)
        lines = [f"{lines[0]}: {counted}", f"  {describe_review(rule, *needed)}"]
    return [*lines, *(f"  {row['reviewer']}: {row['item_id_count']:,} votes" for row in by_reviewer)]


def _release_line(config: Config) -> str:
    folder = release_folder(config)
    return f"release: {folder}" if folder.is_dir() else "release: none yet; 'overlap publish' writes it"
