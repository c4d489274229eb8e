"""How firmly a decision stands: the least evidence that keeps a landmark removed, the least that would remove it.

Evidence is counted in items, each a pair or a landmark as a whole, and in votes: an item is confirmed by as many yeses
as the policy asks for. The answers are exact for any `overlap.decisions.rule.Rule`: tests compare them with the
decisions that follow when votes are left out or added.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from overlap.base.tables import DECISIONS, checked
from overlap.decisions.fate import origin_of_whole
from overlap.decisions.rule import Rule


@dataclass(frozen=True)
class Least:
    """Hold the fewest items, and the yeses on them: of those that are there, or of those that would have to come.

    Args:
        query: the query that decides, as (evaluation set, query_id); None for a landmark as a whole.
    """

    items: tuple[str, ...]
    n_votes: int
    query: tuple[str, str] | None


def keeps_removed(decisions: pa.Table, rule: Rule) -> dict[int, Least]:
    """Return, for every removed landmark, the least evidence that would still remove it if no other were there for it.

    Args:
        decisions: DECISIONS by the rule.
    """
    asked = _gather(decisions, rule)
    least = {landmark: _least(_stays(asked, landmark, rule)) for landmark in asked.landmarks}
    return {landmark: each for landmark, each in least.items() if each is not None}


def would_remove(decisions: pa.Table, rule: Rule) -> dict[int, Least | None]:
    """Return, for every kept landmark, the fewest further yeses that would remove it; None where none on these items.

    Args:
        decisions: DECISIONS by the rule.
    """
    asked = _gather(decisions, rule)
    kept = [landmark for landmark in asked.landmarks if _least(_stays(asked, landmark, rule)) is None]
    return {landmark: _least(_comes(asked, landmark, rule)) for landmark in kept}


@dataclass(frozen=True)
class _Asked:
    """Items with the yeses that they lack, by landmark and query, fewest first; `whole` ones by landmark."""

    pairs: Mapping[int, Mapping[tuple[str, str], Sequence[tuple[str, int]]]]
    whole: Mapping[int, Sequence[tuple[str, int]]]
    confirmed: Mapping[tuple[str, str], Mapping[int, int]]
    landmarks: Sequence[int]


def _gather(decisions: pa.Table, rule: Rule) -> _Asked:
    pairs: dict[int, dict[tuple[str, str], list[tuple[str, int]]]] = defaultdict(lambda: defaultdict(list))
    whole: dict[int, list[tuple[str, int]]] = defaultdict(list)
    confirmed: dict[tuple[str, str], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    rows = checked(decisions, DECISIONS).to_pylist()
    for row in sorted(rows, key=lambda row: _order(row, rule)):
        landmark, said = row["landmark_id"], (row["item_id"], _missing(row, rule))
        if row["query_id"] is None:
            if origin_of_whole(row["origin"]) in rule.whole:
                whole[landmark].append(said)
            continue
        query = (row["evaluation_set"], row["query_id"])
        pairs[landmark][query].append(said)
        confirmed[query][landmark] += row["state"] == "confirmed"
    return _Asked(pairs, whole, confirmed, sorted({row["landmark_id"] for row in rows}))


def _missing(row: Mapping[str, Any], rule: Rule) -> int:
    """Return how many yeses an item lacks to be confirmed."""
    return 0 if row["state"] == "confirmed" else rule.confirmations - int(row["n_yes"])


def _order(row: Mapping[str, Any], rule: Rule) -> tuple[Any, ...]:
    return _missing(row, rule), -(row["score"] or 0.0), row["item_id"]


def _stays(asked: _Asked, landmark: int, rule: Rule) -> Iterable[Least]:
    """Yield each way in which the landmark is removed now, with the least evidence for it."""
    for item, missing in asked.whole.get(landmark, ()):
        if not missing:
            yield Least((item,), rule.confirmations, None)
    for query, found in asked.pairs.get(landmark, {}).items():
        needed = _needed(asked, landmark, query, rule)
        ready = [item for item, missing in found if not missing]
        if len(ready) >= needed:
            yield Least(tuple(ready[:needed]), needed * rule.confirmations, query)


def _comes(asked: _Asked, landmark: int, rule: Rule) -> Iterable[Least]:
    """Yield each way in which yeses on items that are there would remove the landmark."""
    for item, missing in asked.whole.get(landmark, ()):
        yield Least((item,), missing, None)
    for query, found in asked.pairs.get(landmark, {}).items():
        needed = _needed(asked, landmark, query, rule)
        if len(found) >= needed:
            lacking = [(item, missing) for item, missing in found[:needed] if missing]
            yield Least(tuple(item for item, _ in lacking), sum(missing for _, missing in lacking), query)


def _needed(asked: _Asked, landmark: int, query: tuple[str, str], rule: Rule) -> int:
    """Return how many photos of the landmark must be confirmed for the query to remove it."""
    if rule.per_query == "all":
        return 1
    others = max((n for other, n in asked.confirmed[query].items() if other != landmark), default=0)
    return max(others if rule.ties == "all" else others + 1, 1)


def _least(ways: Iterable[Least]) -> Least | None:
    return min(ways, key=lambda way: (way.n_votes, len(way.items), way.query is not None, way.items), default=None)
