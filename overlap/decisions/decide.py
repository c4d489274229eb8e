"""Votes, or scores, and a rule to decisions: on every item, on every landmark. The one place that knows "confirmed"."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import DataError
from overlap.base.pages import plural
from overlap.base.tables import REMOVALS, REVIEW_ITEMS, checked
from overlap.decisions.fate import find_fate, number_items
from overlap.decisions.items import confirmed_pairs, count_votes, decide_by_scores, decide_by_votes
from overlap.decisions.outcomes import decide_landmarks
from overlap.decisions.rule import Rule

REVIEW_STATES = ("complete", "settled but for figures", "open")


@dataclass(frozen=True)
class Decision:
    """Hold what was decided by a rule; everything that shows, counts or publishes reads it.

    Args:
        items: DECISIONS.
        landmarks: OUTCOMES.
        duplicated_queries: by evaluation set, the number of queries with a confirmed pair with a removed landmark.
        not_asked_queries: by evaluation set, the number of queries that have none, but an undecided one.
        n_for_removals: items on which a further vote can change what is removed.
        n_for_figures: items on which one can change, beside these, the figures of what is removed.
    """

    rule: Rule
    items: pa.Table
    landmarks: pa.Table
    duplicated_queries: Mapping[str, int]
    not_asked_queries: Mapping[str, int]
    n_for_removals: int
    n_for_figures: int

    @property
    def removals(self) -> pa.Table:
        """Return REMOVALS by landmark_id."""
        removed = self.landmarks.filter(self.landmarks["removed"])
        undecided = pc.add(removed["n_not_asked"], removed["n_open"])
        place = removed.column_names.index("n_not_asked")
        return checked(removed.set_column(place, "n_not_asked", undecided), REMOVALS)

    @property
    def reasons(self) -> dict[int, str]:
        """Return why each landmark goes or stays, in words, by landmark_id."""
        return dict(zip(*(self.landmarks[name].to_pylist() for name in ("landmark_id", "reason")), strict=True))

    @property
    def review(self) -> str:
        """Return one of REVIEW_STATES."""
        return review_state(self.n_for_removals, self.n_for_figures)


def decide(
    rule: Rule,
    *,
    items: pa.Table,
    votes: pa.Table,
    verified: pa.Table,
    landmarks: pa.Table,
    threshold: float,
    queries: Mapping[str, Collection[str]] | None = None,
) -> Decision:
    """Decide what becomes of every item and landmark.

    Args:
        items: REVIEW_ITEMS, at least those that are voted on (evidence = votes) or reach the threshold (scores).
        votes: the VOTES that count, one a reviewer and item.
        verified: VERIFIED; read when evidence = scores.
        landmarks: LANDMARKS of the training set.
        threshold: least score of a verified pair, compared in the scores' own float32.
        queries: the query ids of each evaluation set, the sets in order; each gets an entry in duplicated_queries, 0
            when it has none. Without it any set and query is taken.

    Raises:
        DataError: a removed landmark is not in the training set, a confirmed pair is about a query that `queries`
            lacks, or an item is missing.
    """
    items = checked(items, REVIEW_ITEMS)
    n_for_removals = n_for_figures = 0
    if rule.evidence == "scores":
        decisions = decide_by_scores(items, verified, threshold=threshold)
    else:
        decisions, n_for_removals, n_for_figures = decide_items(rule, items=items, votes=votes)
    if queries is not None:
        _check_queries(decisions, queries)
    outcomes = decide_landmarks(decisions, rule, landmarks=landmarks, sets=list(queries or ()))
    _check_landmarks(outcomes, landmarks)
    shown, unseen = _count_queries(decisions, outcomes)
    sets = queries or sorted({*shown, *unseen})
    return Decision(
        rule,
        decisions,
        outcomes,
        MappingProxyType({name: shown[name] for name in sets}),
        MappingProxyType({name: unseen[name] for name in sets}),
        n_for_removals,
        n_for_figures,
    )


def decide_items(rule: Rule, *, items: pa.Table, votes: pa.Table) -> tuple[pa.Table, int, int]:
    """Decide on items by votes.

    Args:
        items: REVIEW_ITEMS.
        votes: the VOTES that count, one a reviewer and item.

    Returns:
        DECISIONS, and on how many items a further vote can change what is removed, or the figures of what is.
    """
    counted = count_votes(items, votes, rule)
    fate = find_fate(number_items(items, rule), counted, rule)
    return decide_by_votes(items, counted, fate, rule), int(fate.for_removals.sum()), int(fate.for_figures.sum())


def review_state(n_for_removals: int, n_for_figures: int) -> str:
    """Return one of REVIEW_STATES."""
    return REVIEW_STATES[2 if n_for_removals else 1 if n_for_figures else 0]


def describe_review(rule: Rule, n_for_removals: int, n_for_figures: int) -> str:
    """Return in a sentence how far a review is."""
    if rule.evidence == "scores":
        return "not needed: the policy decides by scores"
    state = review_state(n_for_removals, n_for_figures)
    more = {
        "complete": "no further vote can change what is removed, nor its figures",
        "settled but for figures": "no further vote can change what is removed; "
        f"{plural(n_for_figures, 'pair')} may show further queries of it, not asked about to the end",
        "open": f"votes on {plural(n_for_removals, 'item')} can still change what is removed",
    }
    return f"{state}: {more[state]}"


def _count_queries(decisions: pa.Table, outcomes: pa.Table) -> tuple[Counter[str], Counter[str]]:
    """Count the queries that show a removed landmark, and those that may: by evaluation set."""
    removed = outcomes.filter(outcomes["removed"])["landmark_id"]
    of_removed = pc.and_(pc.is_in(decisions["landmark_id"], value_set=removed), pc.is_valid(decisions["query_id"]))
    pairs = decisions.filter(of_removed)
    asked = zip(*(pairs[name].to_pylist() for name in ("evaluation_set", "query_id", "state")), strict=True)
    states: dict[tuple[str, str], set[str]] = {}
    for name, query, state in asked:
        states.setdefault((name, query), set()).add(state)
    shown = Counter(name for (name, _), found in states.items() if "confirmed" in found)
    unseen = Counter(name for (name, _), found in states.items() if "confirmed" not in found and found != {"rejected"})
    return shown, unseen


def _check_queries(decisions: pa.Table, queries: Mapping[str, Collection[str]]) -> None:
    known = {name: set(ids) for name, ids in queries.items()}
    pairs = confirmed_pairs(decisions)
    confirmed = set(zip(pairs["evaluation_set"].to_pylist(), pairs["query_id"].to_pylist(), strict=True))
    strange = sorted((name, query) for name, query in confirmed if query not in known.get(name, ()))
    if strange:
        name, query = strange[0]
        raise DataError(
            f"{len(strange)} confirmed queries are of no configured evaluation set, such as {query!r} of {name!r} "
            f"(configured: {', '.join(queries)}); configure that set, or use another store"
        )


def _check_landmarks(outcomes: pa.Table, landmarks: pa.Table) -> None:
    removed = outcomes.filter(outcomes["removed"])["landmark_id"]
    strange = removed.filter(pc.invert(pc.is_in(removed, value_set=landmarks["landmark_id"]))).to_pylist()
    if strange:
        raise DataError(
            f"landmark_id {', '.join(map(str, strange))} would be removed, but the training set has no such landmark; "
            "the votes or verified pairs are about another training set"
        )
