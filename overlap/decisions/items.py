"""Votes, or scores, to DECISIONS: what became of every item."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import DataError
from overlap.base.tables import DECISIONS, REVIEW_ITEMS, VERIFIED, VOTES, checked
from overlap.decisions.fate import Fate, Votes
from overlap.decisions.rule import Rule

PAIR = ("evaluation_set", "query_id", "image_id", "landmark_id")


def believed(verified: pa.Table, *, threshold: float) -> pa.Table:
    """Keep the VERIFIED rows of status ok whose score reaches the threshold, compared in the scores' own float32.

    A score that is no number never does.
    """
    reached = pc.greater_equal(verified["score"], pa.scalar(threshold, pa.float32()))
    return verified.filter(pc.and_(pc.equal(verified["status"], "ok"), reached))


def count_votes(items: pa.Table, votes: pa.Table, rule: Rule) -> Votes:
    """Count the votes on each item.

    Args:
        items: REVIEW_ITEMS.
        votes: the VOTES that count, one a reviewer and item.

    Raises:
        DataError: a vote is on none of the items.
    """
    place = {item: row for row, item in enumerate(items["item_id"].to_pylist())}
    votes = checked(votes, VOTES)
    strange = next((row for row, item in enumerate(votes["item_id"].to_pylist()) if item not in place), None)
    if strange is not None:
        asked = tuple(votes[name][strange].as_py() for name in PAIR)
        raise DataError(f"a vote on {asked} counts but is not among the review items; build the review queue again")
    rows = np.array([place[item] for item in votes["item_id"].to_pylist()], np.int64)
    answers = votes["answer"].to_pylist()

    def count(wanted: frozenset[str] | None) -> Any:
        chosen = [wanted is None or answer in wanted for answer in answers]
        return np.bincount(rows[np.array(chosen, bool)], minlength=items.num_rows)

    return Votes(count(rule.confirming), count(rule.opposing), count(None))


def decide_by_votes(items: pa.Table, votes: Votes, fate: Fate, rule: Rule) -> pa.Table:
    """Return the DECISIONS on REVIEW_ITEMS that people voted on, in the order of the items."""
    waiting = fate.for_removals | (fate.for_figures & rule.figures) | fate.for_others
    state = np.select([fate.sure, ~fate.possible, waiting], ["confirmed", "rejected", "open"], "not_asked")
    disputed = (votes.yes > 0) & (votes.no > 0)
    return _decisions(items, state, disputed, votes, "people")


def decide_by_scores(items: pa.Table, verified: pa.Table, *, threshold: float) -> pa.Table:
    """Return the DECISIONS on REVIEW_ITEMS by whether their pair reaches the threshold, in the order of the items."""
    sure = believed(checked(verified, VERIFIED), threshold=threshold)
    pairs = set(zip(*(sure[name].to_pylist() for name in PAIR), strict=True))
    asked = zip(*(items[name].to_pylist() for name in PAIR), strict=True)
    state = np.where(np.array([pair in pairs for pair in asked], bool), "confirmed", "rejected")
    nothing = np.zeros(items.num_rows, np.int64)
    return _decisions(items, state, nothing > 0, Votes(nothing, nothing, nothing), "score")


def confirmed_pairs(decisions: pa.Table) -> pa.Table:
    """Keep the DECISIONS on pairs that are confirmed."""
    return decisions.filter(pc.and_(pc.equal(decisions["state"], "confirmed"), pc.is_valid(decisions["query_id"])))


def possible_photos(decisions: pa.Table) -> dict[int, int]:
    """Return by landmark how many photos are confirmed for a query, or may be still: no pair of the others is left."""
    pairs = decisions.filter(pc.and_(pc.not_equal(decisions["state"], "rejected"), pc.is_valid(decisions["query_id"])))
    counted = pairs.group_by("landmark_id").aggregate([("image_id", "count_distinct")])
    return dict(zip(counted["landmark_id"].to_pylist(), counted["image_id_count_distinct"].to_pylist(), strict=True))


def possible_wholes(decisions: pa.Table) -> set[int]:
    """Return the landmarks that are confirmed as a whole, or may be still."""
    whole = pc.and_(pc.not_equal(decisions["state"], "rejected"), pc.is_null(decisions["query_id"]))
    return set(decisions.filter(whole)["landmark_id"].to_pylist())


def _decisions(items: pa.Table, state: Any, disputed: Any, votes: Votes, by: str) -> pa.Table:
    more = {
        "state": pa.array(state.tolist(), pa.string()),
        "disputed": pa.array(disputed, pa.bool_()),
        "n_yes": votes.yes,
        "n_no": votes.no,
        "n_votes": votes.all,
        "decided_by": pa.array([by] * items.num_rows, pa.string()),
    }
    asked = {name: items[name] for name in REVIEW_ITEMS.names}
    return checked(pa.table({**asked, **more}), DECISIONS)
