"""How far reviewers agree, how often they err on gold items, and how fast they are.

Agreement is that of the groups that all reviewers get: elsewhere the stopping rule chooses who judges what, and figures
over such items would flatter nobody in a known direction.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap.base.intervals import clopper_pearson
from overlap.base.tables import ANSWERS, CONFIRMING

_BOOTSTRAP = 1000


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval; NaN where there is nothing to estimate from."""

    value: float
    low: float
    high: float
    n: int


def count_answers(answers: Sequence[Mapping[str, str]], categories: Sequence[str] = ANSWERS) -> NDArray[np.int64]:
    """Return (P, C) how often each item got each category.

    Args:
        answers: for each item, the answer of each reviewer.
    """
    counts = [[Counter(each.values())[category] for category in categories] for each in answers]
    return np.array(counts, np.int64).reshape(len(answers), len(categories))


def fleiss_kappa(counts: NDArray[np.int64], *, seed: int = 0) -> Estimate:
    """Return Fleiss' kappa over the items with two answers or more.

    Args:
        counts: (P, C) answers by item and category.

    Source: Fleiss 1971, "Measuring nominal scale agreement among many raters"; for items with unequal numbers of
    raters the item's own number is used, which is his formula where they are equal. The interval is ours: the
    percentile bootstrap over items.
    """
    return _bootstrapped(counts, lambda share, q: float((share**2).sum()), seed)


def gwet_ac1(counts: NDArray[np.int64], *, seed: int = 0) -> Estimate:
    """Return Gwet's AC1, which stays meaningful where nearly all answers are the same.

    Source: Gwet 2008, "Computing inter-rater reliability and its variance in the presence of high agreement",
    eq. 6 and 7; interval as for `fleiss_kappa`.
    """
    return _bootstrapped(counts, lambda share, q: float((share * (1 - share)).sum() / (q - 1)), seed)


def proportion(hits: int, n: int) -> Estimate:
    """Return a share with its exact interval (Clopper and Pearson)."""
    if not n:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    return Estimate(hits / n, *clopper_pearson(hits, n), n)


@dataclass(frozen=True)
class GoldFigures:
    """A reviewer on gold items: the share of known same ones confirmed, and of known different ones not."""

    sensitivity: Estimate
    specificity: Estimate


def judge_gold(
    votes: Sequence[tuple[str, str, str]], confirms: Mapping[str, bool], *, confirming: Collection[str] = CONFIRMING
) -> dict[str, GoldFigures]:
    """Return each reviewer's figures on gold items, by name.

    Args:
        votes: (reviewer, item_id, answer), one a reviewer and item; an answer that confirms is a yes.
        confirms: by item_id whether the known answer confirms.
        confirming: the answers that confirm.
    """
    tallies: dict[str, Counter[tuple[bool, bool]]] = {}
    for reviewer, item, answer in votes:
        if item in confirms:
            tallies.setdefault(reviewer, Counter())[confirms[item], answer in confirming] += 1
    return {
        name: GoldFigures(
            proportion(tally[True, True], tally[True, True] + tally[True, False]),
            proportion(tally[False, False], tally[False, False] + tally[False, True]),
        )
        for name, tally in sorted(tallies.items())
    }


def false_confirmation(specificities: Sequence[float], *, confirmations: int = 1) -> float:
    """Return the chance that a different pair is confirmed by mistake, its reviewers erring independently.

    With one yes of three enough and every reviewer right 19 times in 20, it is 1 - 0.95^3, one in seven.
    """
    chances = np.array([1.0])
    for specificity in specificities:
        chances = np.convolve(chances, [specificity, 1 - specificity])
    return float(chances[confirmations:].sum())


def confusion(answers: Sequence[Mapping[str, str]], first: str, second: str) -> NDArray[np.int64]:
    """Return (C, C) how often the first reviewer's answer (row) met the second's (column) on the same item."""
    place: dict[str, int] = {answer: number for number, answer in enumerate(ANSWERS)}
    counts = np.zeros((len(ANSWERS), len(ANSWERS)), np.int64)
    for each in answers:
        if first in each and second in each:
            counts[place[each[first]], place[each[second]]] += 1
    return counts


def pace(voted_at_ms: Sequence[int], *, pause_ms: int = 300_000) -> float:
    """Return answers a minute, pauses of over five minutes left out; NaN for fewer than two answers.

    Args:
        voted_at_ms: when each answer was given; votes of one answer share their time.
    """
    moments = np.unique(np.asarray(voted_at_ms, np.int64))
    gaps = np.diff(moments)
    worked = gaps[gaps <= pause_ms]
    return float(len(worked) / (worked.sum() / 60_000)) if len(worked) else float("nan")


def _bootstrapped(
    counts: NDArray[np.int64], by_chance: Callable[[NDArray[np.float64], int], float], seed: int
) -> Estimate:
    judged = counts[counts.sum(axis=1) >= 2]
    if not len(judged):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(judged), size=(_BOOTSTRAP, len(judged)))
    values = np.array([_coefficient(judged[each], by_chance) for each in draws])
    low, high = np.nanquantile(values, [0.025, 0.975]) if not np.isnan(values).all() else (np.nan, np.nan)
    return Estimate(_coefficient(judged, by_chance), float(low), float(high), len(judged))


def _coefficient(counts: NDArray[np.int64], by_chance: Callable[[NDArray[np.float64], int], float]) -> float:
    raters = counts.sum(axis=1)
    observed = float((((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))).mean())
    expected = by_chance((counts / raters[:, None]).mean(axis=0), counts.shape[1])
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")
