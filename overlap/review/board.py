"""What all reviewers have said so far, in memory: who is asked what next.

The database is the truth; a board follows it by reading only what is new, so that choosing the next group stays quick
with ten thousands of items.
"""

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from overlap.base.tables import REVIEW_ITEMS, WITHDRAWN, as_table
from overlap.decisions.fate import Asked, BoolArray, Fate, IntArray, Votes, find_fate, number_items
from overlap.decisions.rule import Rule
from overlap.review.schema import IMPORTS, ITEMS, SECOND_LOOKS, VOIDS, VOTE_LOG, is_asked, stands
from overlap.review.store import ReviewStore

_FAR = 1 << 40


@dataclass(frozen=True)
class Order:
    """Say how the queue is laid: the seed, and the shares that all reviewers get and that are gold."""

    seed: int = 0
    shared_share: float = 0.1
    gold_share: float = 0.05


@dataclass(frozen=True)
class Said:
    """The last vote of a reviewer on an item."""

    vote_id: str
    answer: str
    voted_at_ms: int
    sequence: int
    showing: tuple[str | None, int | None]


@dataclass
class Board:
    """Follow a review database; `read_board` makes one and `refresh` brings it up to date."""

    store: ReviewStore
    rule: Rule
    order: Order
    items: list[dict[str, Any]] = field(default_factory=list)
    row_of: dict[str, int] = field(default_factory=dict)
    groups: list[str] = field(default_factory=list)
    rows_of_group: dict[str, list[int]] = field(default_factory=dict)
    said: dict[str, dict[int, Said]] = field(default_factory=lambda: defaultdict(dict))
    looks: dict[int, int] = field(default_factory=dict)
    sequence: int = 0
    n_rows: tuple[int, ...] = ()  # items, imports and voids: where their numbers change all is read anew
    _arrays: "_Arrays | None" = None
    _needed: BoolArray | None = None
    _counts: IntArray = field(default_factory=lambda: np.zeros((4, 0), np.int64))  # yes, no, votes, those since a look
    _answered: dict[str, BoolArray] = field(default_factory=dict)
    _ranks: dict[str, IntArray] = field(default_factory=dict)

    def refresh(self) -> None:
        """Read what came into the database since the last time."""
        with self.store.reading() as connection:
            n_rows = _count_rows(connection)
            if n_rows != self.n_rows:
                self.n_rows = n_rows
                self._read_items(connection)
            fresh = connection.execute(
                sa.select(VOTE_LOG).where(VOTE_LOG.c.sequence > self.sequence, stands()).order_by(VOTE_LOG.c.sequence)
            ).all()
            looks = {row.landmark_id: row.asked_at_ms for row in connection.execute(sa.select(SECOND_LOOKS))}
        for row in fresh:
            self._take(row)
        if looks != self.looks:
            self.looks = looks
            self._recount(range(len(self.items)))

    def needed(self, reviewer: str) -> BoolArray:
        """Tell which items the reviewer is still to be asked, gold left out."""
        arrays = self._all()
        if self._needed is None:
            self._needed = self._find_needed(arrays)
        waiting: BoolArray = self._needed & ~self._answered.get(reviewer, np.zeros(len(self.items), bool))
        return waiting

    def next_groups(
        self, reviewer: str, *, busy: Mapping[str, set[str]], skips: Mapping[str, int], n: int
    ) -> list[str]:
        """Return the next groups of a reviewer, the first one first.

        Args:
            busy: by reviewer the groups that others look at; they and their landmarks come later.
            skips: groups that come last, with the time of the skip.
        """
        arrays = self._all()
        gold = self._next_gold(reviewer, arrays)
        waiting = np.unique(arrays.group[self.needed(reviewer)])
        ranks = self._rank(reviewer, arrays)[waiting]
        taken = {group for name, groups in busy.items() if name != reviewer for group in groups}
        if taken:
            marks = {
                self.items[self.rows_of_group[group][0]]["landmark_id"]
                for group in taken
                if group in self.rows_of_group
            }
            ranks = ranks + np.isin(arrays.landmark_of_group[waiting], list(marks)) * (_FAR >> 20)
        late = {group: 1 + place for place, group in enumerate(sorted(skips, key=lambda each: skips[each]))}
        if late:
            ranks = ranks + np.array([late.get(self.groups[each], 0) for each in waiting], np.int64) * (_FAR >> 10)
        best = waiting[np.argsort(ranks, kind="stable")[:n]]
        chosen = [self.groups[each] for each in best]
        return [gold, *chosen][:n] if gold is not None else chosen

    def n_waiting(self, reviewer: str) -> int:
        """Return how many groups still wait for the reviewer, gold left out."""
        return len(np.unique(self._all().group[self.needed(reviewer)]))

    def open_rows(self, reviewer: str, group: str) -> list[int]:
        """Return the rows of a group's items that the reviewer has no vote on, or none since a second look."""
        mine = self.said[reviewer]
        return [row for row in self.rows_of_group.get(group, []) if not self._is_answered(mine.get(row), row)]

    def last_showing(self, reviewer: str) -> list[int]:
        """Return the rows of the items of the reviewer's last answer that was not withdrawn; empty without one."""
        mine = {row: said for row, said in self.said[reviewer].items() if said.answer != WITHDRAWN}
        if not mine:
            return []
        newest = max(mine.values(), key=lambda said: said.sequence)
        if newest.showing[0] is None:
            return [row for row, said in mine.items() if said is newest]
        return sorted(row for row, said in mine.items() if said.showing == newest.showing)

    def _is_answered(self, said: Said | None, row: int) -> bool:
        if said is None or said.answer == WITHDRAWN:
            return False
        return said.voted_at_ms >= self.looks.get(self.items[row]["landmark_id"], 0)

    def _read_items(self, connection: sa.Connection) -> None:
        rows = connection.execute(sa.select(ITEMS).where(is_asked()).order_by(ITEMS.c.item_id)).mappings()
        self.items = [dict(row) for row in rows]
        self.row_of = {row["item_id"]: number for number, row in enumerate(self.items)}
        self.rows_of_group = {}
        for number, row in enumerate(self.items):
            self.rows_of_group.setdefault(row["group_id"], []).append(number)
        for rows_of in self.rows_of_group.values():
            rows_of.sort(
                key=lambda number: (-(self.items[number]["score"] or 0.0), self.items[number]["image_id"] or "")
            )
        self.groups = sorted(self.rows_of_group)
        self.said, self.sequence = defaultdict(dict), 0
        self._counts, self._answered = np.zeros((4, len(self.items)), np.int64), {}
        self._arrays, self._needed, self._ranks = None, None, {}

    def _take(self, row: Any) -> None:
        self.sequence = row.sequence
        number = self.row_of[row.item_id]
        earlier = self.said[row.reviewer].get(number)
        if earlier is None or (earlier.voted_at_ms, earlier.sequence) < (row.voted_at_ms, row.sequence):
            self.said[row.reviewer][number] = Said(
                row.vote_id, row.answer, row.voted_at_ms, row.sequence, (row.lease, row.client_seq)
            )
            self._recount([number])

    def _recount(self, rows: Iterable[int]) -> None:
        self._needed = None
        confirming, opposing = self.rule.confirming, self.rule.opposing
        for row in rows:
            votes = {name: mine[row] for name, mine in self.said.items() if row in mine}
            counting = [said.answer for said in votes.values() if said.answer != WITHDRAWN]
            answered = {name: self._is_answered(said, row) for name, said in votes.items()}
            self._counts[:, row] = (
                sum(answer in confirming for answer in counting),
                sum(answer in opposing for answer in counting),
                len(counting),
                sum(answered.values()),
            )
            for name, each in answered.items():
                self._answered.setdefault(name, np.zeros(len(self.items), bool))[row] = each

    def _all(self) -> "_Arrays":
        if self._arrays is None:
            self._arrays = _make_arrays(self.items, self.groups, self.rows_of_group, order=self.order, rule=self.rule)
        return self._arrays

    def votes(self) -> Votes:
        """Return the votes on every item that is no gold item, in the order of `real_rows`."""
        yes, no, voted, _ = self._counts[:, self.real_rows()]
        return Votes(yes, no, voted)

    def real_rows(self) -> IntArray:
        """Return the rows of the items that are no gold items."""
        return np.flatnonzero(~self._all().is_gold)

    def real_items(self) -> pa.Table:
        """Return the REVIEW_ITEMS that are no gold items, in the order of `real_rows`."""
        return self._all().items

    def fate(self) -> Fate:
        """Return what is certain of every item that is no gold item, in the order of `real_rows`."""
        return find_fate(self._all().asked, self.votes(), self.rule)

    def _find_needed(self, arrays: "_Arrays") -> BoolArray:
        """Tell which items anybody is still to be asked: for the removals and, these settled, for the figures."""
        fate, wanted = self.fate(), np.zeros(len(self.items), bool)
        for_figures = fate.for_figures & (self.rule.figures and not fate.for_removals.any())
        wanted[self.real_rows()] = fate.for_removals | for_figures | fate.for_others
        again = np.isin(arrays.landmark_id, list(self.looks)) | arrays.is_shared
        needed: BoolArray = (wanted | (again & (self._counts[3] < self.rule.reviewers))) & ~arrays.is_gold
        return needed

    def _rank(self, reviewer: str, arrays: "_Arrays") -> IntArray:
        """Return the place of each group: the best group of every landmark first, shuffled, then every second one."""
        if reviewer not in self._ranks:
            draws = np.array([draw(self.order.seed, reviewer, group) for group in self.groups])
            ranks = np.empty(len(self.groups), np.int64)
            ranks[np.lexsort((draws, arrays.round_of_group))] = np.arange(len(self.groups))
            self._ranks[reviewer] = ranks
        return self._ranks[reviewer]

    def _next_gold(self, reviewer: str, arrays: "_Arrays") -> str | None:
        mine = self.said[reviewer]
        n_answered = len({said.showing for said in mine.values()})
        if draw(self.order.seed, reviewer, f"gold {n_answered}") >= self.order.gold_share:
            return None
        known = {self.items[row]["group_id"] for row in mine}
        left = [self.groups[each] for each in arrays.gold_groups if self.groups[each] not in known]
        return min(left, key=lambda group: draw(self.order.seed, reviewer, group), default=None)


@dataclass(frozen=True)
class _Arrays:
    items: pa.Table
    asked: Asked
    landmark_id: IntArray
    group: IntArray
    is_gold: BoolArray
    is_shared: BoolArray
    round_of_group: IntArray
    landmark_of_group: IntArray
    gold_groups: IntArray


def _count_rows(connection: sa.Connection) -> tuple[int, ...]:
    """Count the items that are asked about, imports and voids."""
    items, imports, voids = (sa.select(sa.func.count()).select_from(table) for table in (ITEMS, IMPORTS, VOIDS))
    n_void = connection.scalar(voids) or 0
    # Which items only a void import brought is a question to every one of them.
    n_items = connection.scalar(items.where(is_asked()) if n_void else items) or 0
    return n_items, connection.scalar(imports) or 0, n_void


def read_board(store: ReviewStore, *, rule: Rule, order: Order) -> Board:
    """Return a board that is up to date."""
    board = Board(store, rule, order)
    board.refresh()
    return board


def draw(seed: int, *words: str) -> float:
    """Return a number in [0, 1) that the seed and words alone decide."""
    digest = hashlib.sha256("\0".join((str(seed), *words)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / (1 << 56)


def is_shared(order: Order, group_id: str) -> bool:
    """Tell whether a group goes to all reviewers whatever is decided already."""
    return draw(order.seed, "shared", group_id) < order.shared_share


def _make_arrays(
    items: list[dict[str, Any]], groups: list[str], rows_of_group: Mapping[str, list[int]], *, order: Order, rule: Rule
) -> _Arrays:
    number_of = {group: number for number, group in enumerate(groups)}
    landmark_id = np.array([row["landmark_id"] for row in items], np.int64)
    is_gold = np.array([row["origin"] == "gold" for row in items], bool)
    shared = {group for group in groups if is_shared(order, group)}
    first = [items[rows_of_group[group][0]] for group in groups]
    marks = np.array([row["landmark_id"] for row in first], np.int64)
    scores = [-(row["score"] if row["score"] is not None else math.inf) for row in first]
    real = as_table([row for row in items if row["origin"] != "gold"], REVIEW_ITEMS)
    return _Arrays(
        items=real,
        asked=number_items(real, rule),
        landmark_id=landmark_id,
        group=np.array([number_of[row["group_id"]] for row in items], np.int64),
        is_gold=is_gold,
        is_shared=np.array([row["group_id"] in shared or row["origin"] == "audit" for row in items], bool) & ~is_gold,
        round_of_group=_rounds(marks, np.array(scores)),
        landmark_of_group=marks,
        gold_groups=np.array([n for n, row in enumerate(first) if row["origin"] == "gold"], np.int64),
    )


def _rounds(landmarks: IntArray, scores: Any) -> IntArray:
    rounds, seen = np.empty(len(landmarks), np.int64), defaultdict[int, int](int)
    for group in np.lexsort((scores, landmarks)):
        rounds[group] = seen[landmarks[group]]
        seen[landmarks[group]] += 1
    return rounds


def items_table(board: Board, rows: list[int]) -> pa.Table:
    """Return the REVIEW_ITEMS of some rows of a board, in their order."""
    return as_table([board.items[row] for row in rows], REVIEW_ITEMS)
