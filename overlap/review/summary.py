"""How a review stands: by landmark, by reviewer, in agreement, and how many decisions were spared."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from overlap.base.tables import ANSWERS, LANDMARKS, STATES, WITHDRAWN
from overlap.decisions.decide import describe_review
from overlap.decisions.items import decide_by_votes
from overlap.decisions.outcomes import count_states, decide_landmarks
from overlap.review.agreement import (
    Estimate,
    GoldFigures,
    count_answers,
    false_confirmation,
    fleiss_kappa,
    gwet_ac1,
    judge_gold,
    pace,
)
from overlap.review.board import Board, Said, is_shared
from overlap.review.reviewers import Reviewer


@dataclass(frozen=True)
class Standing:
    """What was said about a landmark, and what becomes of it.

    Args:
        groups: its groups, by query; a text candidate's group among them.
        outcome: its row of OUTCOMES; without the training set's names and sizes.
        is_settled: whether no further vote can change what is removed, this landmark or another.
        yes: reviewers with a confirming vote.
        no: reviewers with votes none of which confirms.
        asked_again: whether a second look was asked for.
    """

    landmark_id: int
    groups: tuple[str, ...]
    outcome: Mapping[str, Any]
    is_settled: bool
    yes: tuple[str, ...]
    no: tuple[str, ...]
    asked_again: bool

    @property
    def n_confirmed(self) -> int:
        """Return how many of its items are confirmed."""
        return count_states(self.outcome)["confirmed"]

    @property
    def rests_on_one(self) -> bool:
        """Tell whether a single reviewer confirmed it."""
        return len(self.yes) == 1


@dataclass(frozen=True)
class Agreement:
    """Agreement of one evaluation set, or of the text candidates, over the groups that go to all reviewers."""

    kind: str
    kappa: Estimate
    ac1: Estimate


@dataclass(frozen=True)
class ReviewerWork:
    """What a reviewer did: answers (showings), votes (pairs), answers a minute, groups that still wait."""

    reviewer: str
    n_answers: int
    n_votes: int
    per_minute: float
    n_waiting: int

    @property
    def minutes_left(self) -> float:
        """Return the estimate for what waits; NaN without a pace."""
        return self.n_waiting / self.per_minute


@dataclass(frozen=True)
class Summary:
    """Hold the figures of the Progress page.

    Args:
        n_full: decisions that judging every item by every reviewer takes.
        n_answers: decisions that were made.
        review: how far the review is, in words; ``states`` counts items by state.
        false_confirmed: estimated chance that a different pair is confirmed by mistake, from gold items; NaN without.
    """

    n_items: int
    n_groups: int
    n_full: int
    n_answers: int
    review: str
    states: Mapping[str, int]
    work: tuple[ReviewerWork, ...]
    agreement: tuple[Agreement, ...]
    gold: Mapping[str, GoldFigures]
    false_confirmed: float


def find_standings(board: Board) -> list[Standing]:
    """Return the standing of every landmark with a vote or a group, the confirmed ones first, then by id."""
    groups: dict[int, list[str]] = defaultdict(list)
    for group, rows in board.rows_of_group.items():
        if board.items[rows[0]]["origin"] != "gold":
            groups[board.items[rows[0]]["landmark_id"]].append(group)
    outcomes = {row["landmark_id"]: row for row in find_outcomes(board).to_pylist()}
    is_settled = not board.fate().for_removals.any()
    standings = [
        _standing(board, tuple(each), outcomes[landmark], is_settled=is_settled) for landmark, each in groups.items()
    ]
    return sorted(standings, key=lambda each: (-each.n_confirmed, each.landmark_id))


def summarise(board: Board, *, confirms: Mapping[str, bool]) -> Summary:
    """Return the figures of the Progress page.

    Args:
        confirms: by item_id of the gold items, whether the known answer confirms.
    """
    items = [row for row in board.items if row["origin"] != "gold"]
    work = tuple(_work(board, name) for name in sorted(board.said))
    votes = [
        (name, board.items[row]["item_id"], said.answer)
        for name in board.said
        for row, said in votes_of(board, name).items()
    ]
    gold = judge_gold(votes, confirms, confirming=board.rule.confirming)
    right = [figures.specificity.value for figures in gold.values() if figures.specificity.n]
    n_judges, fate = board.rule.reviewers, board.fate()
    states = Counter(decide_board(board)["state"].to_pylist())
    mean = sum(right) / len(right) if right else float("nan")
    return Summary(
        n_items=len(items),
        n_groups=len({row["group_id"] for row in items}),
        n_full=len(items) * n_judges,
        n_answers=sum(each.n_answers for each in work),
        review=describe_review(board.rule, int(fate.for_removals.sum()), int(fate.for_figures.sum())),
        states={state: states[state] for state in STATES},
        work=work,
        agreement=find_agreement(board),
        gold=gold,
        false_confirmed=false_confirmation([mean] * n_judges, confirmations=board.rule.confirmations),
    )


def votes_of(board: Board, reviewer: str) -> dict[int, Said]:
    """Return a reviewer's votes that count, by row; those on gold items too."""
    return {row: said for row, said in board.said[reviewer].items() if said.answer != WITHDRAWN}


def answers_by_item(board: Board) -> dict[int, dict[str, str]]:
    """Return by row the answer of each reviewer, gold left out."""
    answers: dict[int, dict[str, str]] = defaultdict(dict)
    for name in sorted(board.said):
        for row, said in votes_of(board, name).items():
            if board.items[row]["origin"] != "gold":
                answers[row][name] = said.answer
    return answers


def visible_rows(board: Board, reviewer: Reviewer) -> set[int]:
    """Return the rows whose votes a reviewer may see: the own ones; a lead's are all that waits for the lead no more.

    Gold items are among them only where the reviewer answered them.
    """
    mine = set(votes_of(board, reviewer.name))
    if reviewer.role != "lead":
        return mine
    waiting = board.needed(reviewer.name)
    return mine | {row for row, item in enumerate(board.items) if item["origin"] != "gold" and not waiting[row]}


def find_agreed(board: Board, visible: Collection[int]) -> dict[str, list[int]]:
    """Return by answer the visible rows of pairs to which two reviewers or more gave it, and nobody another one."""
    agreed: dict[str, list[int]] = {answer: [] for answer in ANSWERS}
    for row, answers in sorted(answers_by_item(board).items()):
        given = set(answers.values())
        if row in visible and len(answers) > 1 and len(given) == 1 and board.items[row]["query_id"] is not None:
            agreed[given.pop()].append(row)
    return agreed


def find_agreement(board: Board) -> tuple[Agreement, ...]:
    """Return the agreement by evaluation set, and of text candidates, over the groups that all reviewers get."""
    by_kind: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for row, each in sorted(answers_by_item(board).items()):
        item: Mapping[str, Any] = board.items[row]
        if is_shared(board.order, item["group_id"]):
            by_kind[item["evaluation_set"] or "names"].append(each)
    return tuple(
        Agreement(kind, fleiss_kappa(counts), gwet_ac1(counts))
        for kind, counts in ((kind, count_answers(answers)) for kind, answers in sorted(by_kind.items()))
    )


def decide_board(board: Board) -> pa.Table:
    """Return the DECISIONS on all items that are no gold items."""
    return decide_by_votes(board.real_items(), board.votes(), board.fate(), board.rule)


def find_outcomes(board: Board) -> pa.Table:
    """Return the OUTCOMES of all landmarks that items ask about, without names and sizes."""
    return decide_landmarks(decide_board(board), board.rule, landmarks=LANDMARKS.empty_table())


def _standing(board: Board, groups: tuple[str, ...], outcome: Mapping[str, Any], *, is_settled: bool) -> Standing:
    landmark = outcome["landmark_id"]
    rows = [row for group in groups for row in board.rows_of_group[group]]
    said = {name: [mine[row].answer for row in rows if row in mine] for name, mine in board.said.items()}
    said = {name: [answer for answer in each if answer != WITHDRAWN] for name, each in said.items()}
    yes = tuple(sorted(name for name, each in said.items() if board.rule.confirming & set(each)))
    no = tuple(sorted(name for name, each in said.items() if each and name not in yes))
    return Standing(landmark, groups, outcome, is_settled, yes, no, landmark in board.looks)


def _work(board: Board, reviewer: str) -> ReviewerWork:
    votes = votes_of(board, reviewer)
    # Votes of the app that were given at once share their showing; imported ones stand for themselves.
    showings = {said.showing if said.showing[0] else (said.vote_id, None) for said in votes.values()}
    moments = [said.voted_at_ms for said in votes.values() if said.showing[0]]
    return ReviewerWork(reviewer, len(showings), len(votes), pace(moments), board.n_waiting(reviewer))
