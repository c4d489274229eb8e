"""Which items can still change what is removed: the stopping rule.

Every item has a least and a greatest number of confirming votes that it can end with. From these follow, for each
query and landmark, the least (sure) and the greatest (possible) number of confirmed photos, and from these whether a
landmark's fate is settled. An item that can change no unsettled fate needs no more votes. Withdrawing a vote can make
it needed again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Rule:
    """Say what a removal policy looks at; the fields are those of a policy, and how many reviewers judge an item."""

    confirmations: int = 1
    per_query: str = "most"
    ties: str = "all"
    text: bool = True
    unsure_confirms: bool = False
    reviewers: int = 3


@dataclass(frozen=True)
class Asked:
    """Number what items ask about.

    Args:
        query: (P,) number of the item's query, -1 for a text candidate.
        landmark: (P,) number of the item's landmark.
    """

    query: IntArray
    landmark: IntArray


def find_needed(asked: Asked, *, yes: IntArray, voted: IntArray, rule: Rule) -> BoolArray:
    """Tell which items a further vote can make change what is removed.

    Args:
        yes: (P,) confirming votes on each item.
        voted: (P,) votes on each item.

    Returns:
        (P,) bool. With none left, all further votes of the rule's reviewers lead to the same removals.
    """
    sure = yes >= rule.confirmations
    possible = yes + np.maximum(rule.reviewers - voted, 0) >= rule.confirmations
    is_open = possible & ~sure
    is_text = asked.query < 0
    if not rule.text:
        is_open, sure, possible = is_open & ~is_text, sure & ~is_text, possible & ~is_text
    if rule.per_query == "all":
        return is_open & ~_any_of(asked.landmark, sure)[asked.landmark]
    cells = _cells(asked, sure, possible)
    settled = _settled(asked, cells, sure & is_text, possible & is_text, rule)
    needed: BoolArray = is_open & np.where(is_text, ~settled[asked.landmark], _relevant(cells, settled, rule)[cells.of])
    return needed


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


def _settled(asked: Asked, cells: _Cells, text_sure: BoolArray, text_possible: BoolArray, rule: Rule) -> BoolArray:
    wins, loses = _verdicts(cells, rule)
    size = int(asked.landmark.max(initial=-1)) + 1
    removed = _any_of(asked.landmark, text_sure, size=size) | _any_of(cells.landmark, wins, size=size)
    may_be = _any_of(asked.landmark, text_possible, size=size) | _any_of(cells.landmark, ~loses, size=size)
    return removed | ~may_be


def _verdicts(cells: _Cells, rule: Rule) -> tuple[BoolArray, BoolArray]:
    """Return of each cell whether it surely is, and whether it surely is not, the one with most of its query."""
    others_possible = _greatest_of_others(cells.query, cells.possible)
    others_sure = _greatest_of_others(cells.query, cells.sure)
    of_query = cells.query >= 0
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


def _any_of(numbers: IntArray, flags: BoolArray, *, size: int | None = None) -> BoolArray:
    found = np.zeros(int(numbers.max(initial=-1)) + 1 if size is None else size, dtype=bool)
    found[numbers[flags]] = True
    return found
