"""What can still become of each item and landmark: the stopping rule.

Every item has a least and a greatest number of confirming votes that it can end with. From these follow, for each
query and landmark, the least (sure) and the greatest (possible) number of confirmed photos, and from these whether a
landmark's fate is settled. An item that can change no unsettled fate needs no more votes for what is removed. What is
published counts, beside, which queries show a removed landmark: for each query and removed landmark an item that can
still be confirmed is needed until one is. Withdrawing a vote can make an item needed again.
"""

from dataclasses import dataclass
from functools import cached_property

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

    @cached_property
    def cells(self) -> "Cells":
        """Return the queries and landmarks that items are about, as a whole with query -1."""
        keys = self.query * (int(self.landmark.max(initial=-1)) + 1) + self.landmark
        _, first, of = np.unique(keys, return_index=True, return_inverse=True)
        return Cells(of, self.query[first], self.landmark[first])


@dataclass(frozen=True)
class Cells:
    """One cell a query and landmark, sorted by query; ``of`` is the cell of each item."""

    of: IntArray
    query: IntArray
    landmark: IntArray

    def count(self, flags: BoolArray) -> IntArray:
        """Return how many of the items that are flagged are in each cell."""
        return np.bincount(self.of, weights=flags, minlength=len(self.query)).astype(np.int64)


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
        for_others: it can change neither, and people are asked all the same: closure or the audit put it before them.
    """

    sure: BoolArray
    possible: BoolArray
    for_removals: BoolArray
    for_figures: BoolArray
    for_others: BoolArray


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
    counts = _Counts(asked.cells, asked.cells.count(sure), asked.cells.count(possible), rule)
    removed, settled = _certain(asked, counts, sure, possible)
    is_open, is_pair, of = possible & ~sure, asked.query >= 0, asked.cells.of
    pair = _relevant(counts, settled) if rule.per_query == "most" else ~settled[asked.cells.landmark]
    whole = asked.removes & ~settled[asked.landmark]
    unshown = removed[asked.landmark] & (counts.sure[of] == 0)
    others = asked.standing & ~asked.removes & ~removed[asked.landmark]
    for_removals = is_open & np.where(is_pair, pair[of], whole)
    return Fate(sure, possible, for_removals, is_open & is_pair & unshown, is_open & others)


def find_removed(asked: Asked, confirmed: BoolArray, rule: Rule) -> BoolArray:
    """Tell of each landmark, by its number, whether the confirmed items remove it: the policy itself."""
    n = asked.cells.count(confirmed)
    return _certain(asked, _Counts(asked.cells, n, n, rule), confirmed, confirmed)[0]


@dataclass(frozen=True)
class _Counts:
    """Count the items of each cell that are surely and those that are possibly confirmed."""

    cells: Cells
    sure: IntArray
    possible: IntArray
    rule: Rule

    @cached_property
    def verdicts(self) -> tuple[BoolArray, BoolArray]:
        """Return of each cell whether it surely removes its landmark, and whether it surely does not."""
        of_query = self.cells.query >= 0
        if self.rule.per_query == "all":
            return of_query & (self.sure > 0), ~of_query | (self.possible == 0)
        others_possible = _greatest_of_others(self.cells.query, self.possible)
        others_sure = _greatest_of_others(self.cells.query, self.sure)
        if self.rule.ties == "all":
            wins, loses = self.sure >= others_possible, others_sure > self.possible
        else:
            wins, loses = self.sure > others_possible, others_sure >= self.possible
        return of_query & (self.sure > 0) & wins, ~of_query | (self.possible == 0) | loses


def _certain(asked: Asked, counts: _Counts, sure: BoolArray, possible: BoolArray) -> tuple[BoolArray, BoolArray]:
    """Return of each landmark whether it surely goes, and whether what becomes of it is certain."""
    (wins, loses), landmark = counts.verdicts, counts.cells.landmark
    size, whole = int(asked.landmark.max(initial=-1)) + 1, (asked.query < 0) & asked.removes
    removed = _any_of(asked.landmark, sure & whole, size=size) | _any_of(landmark, wins, size=size)
    may_be = _any_of(asked.landmark, possible & whole, size=size) | _any_of(landmark, ~loses, size=size)
    return removed, removed | ~may_be


def _relevant(counts: _Counts, settled: BoolArray) -> BoolArray:
    """Tell of which cells the count can change an unsettled landmark's place in their query; too many rather than few.

    A cell matters to its own landmark while that is unsettled and can still come first. It matters to another such
    landmark of the query unless its count is certain to stay below, or certain to stay above, that landmark's.
    """
    (wins, loses), query = counts.verdicts, counts.cells.query
    contends = ~settled[counts.cells.landmark] & ~wins & ~loses
    least = -_greatest_of_others(query, np.where(contends, -counts.sure, -_FAR))
    greatest = _greatest_of_others(query, np.where(contends, counts.possible, -_FAR))
    reaches = counts.possible > least if counts.rule.ties == "all" else counts.possible >= least
    relevant: BoolArray = contends | (reaches & (counts.sure <= greatest))
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
