"""What can still become of each item and landmark: the stopping rule.

Every item has a least and a greatest number of confirming votes that it can end with. From these follow, for each
query and landmark, the least (sure) and the greatest (possible) number of confirmed photos, and from these whether a
landmark's fate is settled. An item that can change no unsettled fate needs no more votes for what is removed. What is
published counts, beside, which queries show a removed landmark: for each query and removed landmark an item that can
still be confirmed is needed until one is. Withdrawing a vote can make an item needed again.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.decisions.rule import Rule

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """Number what items ask about.

    Args:
        query: (P,) number of the item's query, -1 for a landmark as a whole.
        landmark: (P,) number of the item's landmark.
        removes: (P,) whether its confirmation can remove the landmark; of a landmark as a whole the rule may not count.
        standing: (P,) whether people are asked although it can't: somebody put it before them by closure or audit.
    """

    query: IntArray
    landmark: IntArray
    removes: BoolArray
    standing: BoolArray


@dataclass(frozen=True)
class Votes:
    """Count votes: (P,) confirming ones, opposing ones, and all."""

    yes: IntArray
    no: IntArray
    all: IntArray


@dataclass(frozen=True)
class Fate:
    """Say of each of P items what is certain.

    Args:
        sure: it is confirmed.
        possible: it is, or further votes can confirm it.
        for_removals: a further vote can change what is removed.
        for_figures: it can show that a query sees a landmark that surely goes, and nothing confirmed does so yet.
    """

    sure: BoolArray
    possible: BoolArray
    for_removals: BoolArray
    for_figures: BoolArray


def number_items(items: pa.Table, rule: Rule) -> Asked:
    """Number the queries and landmarks of REVIEW_ITEMS; landmarks by ascending id."""
    sets, queries, origins = (items[name].to_pylist() for name in ("evaluation_set", "query_id", "origin"))
    numbers: dict[tuple[str, str], int] = {}
    query = [
        -1 if query_id is None else numbers.setdefault((name, query_id), len(numbers))
        for name, query_id in zip(sets, queries, strict=True)
    ]
    number = np.array(query, np.int64)
    landmark = np.unique(items["landmark_id"].to_numpy(), return_inverse=True)[1].reshape(-1)
    counted = np.array([origin_of_whole(origin) in rule.whole for origin in origins], bool)
    put = np.array([origin in ("closure", "audit") for origin in origins], bool)
    return Asked(number, landmark.astype(np.int64), (number >= 0) | counted, (number < 0) & put)


def origin_of_whole(origin: str) -> str:
    """Return how a landmark as a whole came before people: by its name if the votes are all that is there."""
    return origin if origin in ("closure", "audit") else "text"


def find_fate(asked: Asked, votes: Votes, rule: Rule) -> Fate:
    """Tell which items are confirmed, which can be, and what further votes can change.

    With nothing left ``for_removals`` all further votes of the rule's reviewers lead to the same removals, and with
    nothing left ``for_figures`` either, to the same queries that show each removed landmark.
    """
    sure = votes.yes >= rule.confirmations
    possible = votes.yes + np.maximum(rule.reviewers - votes.all, 0) >= rule.confirmations
    cells = _cells(asked, sure, possible)
    removed, settled = _certain(asked, cells, sure, possible, rule)
    is_open, is_pair = possible & ~sure, asked.query >= 0
    pair = _relevant(cells, settled, rule) if rule.per_query == "most" else ~settled[cells.landmark]
    whole = np.where(asked.removes, ~settled[asked.landmark], asked.standing & ~removed[asked.landmark])
    unshown = removed[asked.landmark] & (cells.sure[cells.of] == 0)
    return Fate(sure, possible, is_open & np.where(is_pair, pair[cells.of], whole), is_open & is_pair & unshown)


def find_removed(asked: Asked, confirmed: BoolArray, rule: Rule) -> BoolArray:
    """Tell of each landmark, by its number, whether the confirmed items remove it: the policy itself."""
    return _certain(asked, _cells(asked, confirmed, confirmed), confirmed, confirmed, rule)[0]


@dataclass(frozen=True)
class _Cells:
    """One cell a query and landmark, sorted by query; ``of`` is the cell of each item."""

    of: IntArray
    query: IntArray
    landmark: IntArray
    sure: IntArray
    possible: IntArray


def _cells(asked: Asked, sure: BoolArray, possible: BoolArray) -> _Cells:
    width = int(asked.landmark.max(initial=-1)) + 1
    keys = asked.query * width + asked.landmark
    _, first, of = np.unique(keys, return_index=True, return_inverse=True)
    n_sure = np.bincount(of, weights=sure, minlength=len(first)).astype(np.int64)
    n_possible = np.bincount(of, weights=possible, minlength=len(first)).astype(np.int64)
    return _Cells(of, asked.query[first], asked.landmark[first], n_sure, n_possible)


def _certain(
    asked: Asked, cells: _Cells, sure: BoolArray, possible: BoolArray, rule: Rule
) -> tuple[BoolArray, BoolArray]:
    """Return of each landmark whether it surely goes, and whether what becomes of it is certain."""
    wins, loses = _verdicts(cells, rule)
    size, whole = int(asked.landmark.max(initial=-1)) + 1, (asked.query < 0) & asked.removes
    removed = _any_of(asked.landmark, sure & whole, size=size) | _any_of(cells.landmark, wins, size=size)
    may_be = _any_of(asked.landmark, possible & whole, size=size) | _any_of(cells.landmark, ~loses, size=size)
    return removed, removed | ~may_be


def _verdicts(cells: _Cells, rule: Rule) -> tuple[BoolArray, BoolArray]:
    """Return of each cell whether it surely removes its landmark, and whether it surely does not."""
    of_query = cells.query >= 0
    if rule.per_query == "all":
        return of_query & (cells.sure > 0), ~of_query | (cells.possible == 0)
    others_possible = _greatest_of_others(cells.query, cells.possible)
    others_sure = _greatest_of_others(cells.query, cells.sure)
    if rule.ties == "all":
        wins, loses = cells.sure >= others_possible, others_sure > cells.possible
    else:
        wins, loses = cells.sure > others_possible, others_sure >= cells.possible
    return of_query & (cells.sure > 0) & wins, ~of_query | (cells.possible == 0) | loses


def _relevant(cells: _Cells, settled: BoolArray, rule: Rule) -> BoolArray:
    """Tell of which cells the count can change an unsettled landmark's place in their query; too many rather than few.

    A cell matters to its own landmark while that is unsettled and can still come first. It matters to another such
    landmark of the query unless its count is certain to stay below, or certain to stay above, that landmark's.
    """
    wins, loses = _verdicts(cells, rule)
    contends = ~settled[cells.landmark] & ~wins & ~loses
    least = -_greatest_of_others(cells.query, np.where(contends, -cells.sure, -_FAR))
    greatest = _greatest_of_others(cells.query, np.where(contends, cells.possible, -_FAR))
    reaches = cells.possible > least if rule.ties == "all" else cells.possible >= least
    relevant: BoolArray = contends | (reaches & (cells.sure <= greatest))
    return relevant


_FAR = 1 << 40


def _greatest_of_others(query: IntArray, values: IntArray) -> IntArray:
    """Return for each cell the greatest value among the other cells of its query; -_FAR when there is none."""
    others = np.full(len(query), -_FAR, np.int64)
    if not len(query):
        return others
    order = np.lexsort((-values, query))
    starts = np.flatnonzero(np.r_[True, np.diff(query[order]) != 0])
    sizes = np.diff(np.r_[starts, len(order)])
    first = values[order[starts]]
    others[order] = np.repeat(first, sizes)
    several = sizes > 1
    others[order[starts]] = -_FAR
    others[order[starts[several]]] = values[order[starts[several] + 1]]
    return others


def _any_of(numbers: IntArray, flags: BoolArray, *, size: int) -> BoolArray:
    found = np.zeros(size, dtype=bool)
    found[numbers[flags]] = True
    return found
