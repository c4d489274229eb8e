"""How many overlapping landmarks can be left: an exact upper bound from a stratified sample of kept landmarks.

A sampled landmark is judged beside all evaluation landmarks. Among `size` landmarks of a stratum, T overlap; `judged`
are drawn without replacement, and a drawn one that overlaps is recognised with the reviewers' sensitivity. So the
number found is a binomial thinning of a hypergeometric count, and the bound is the largest T under which finding so few
is not improbable: Clopper and Pearson's construction for a finite stratum and imperfect reviewers. A stratum judged
whole needs no case of its own.

The 5 % of error are split: 2.5 % for the sensitivity, whose lower Clopper-Pearson limit is used, 2.5 % for the strata,
shared out among them by the design alone, before anything is found. Both add up, whatever depends on what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log1p, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import special

from overlap.base.errors import DataError
from overlap.base.intervals import clopper_pearson

ERROR = 0.025
_PLANNED_SENSITIVITY = 0.9


@dataclass(frozen=True)
class Stratum:
    """Hold what an audit saw of some kept landmarks.

    Args:
        size: kept landmarks.
        judged: how many were drawn at random and judged; all of them in a stratum judged whole.
        found: how many of these the reviewers took for a landmark of an evaluation set.
    """

    name: str
    size: int
    judged: int
    found: int = 0


@dataclass(frozen=True)
class Bound:
    """Hold an upper bound with 95 % confidence.

    Args:
        most: by stratum, how many of its landmarks overlap at most.
        sensitivity: the lower limit that was used.
        remaining: how many are left at most when those that were found are removed.
    """

    most: tuple[int, ...]
    sensitivity: float
    remaining: int


def bound_overlap(strata: Sequence[Stratum], *, recognised: int, checks: int) -> Bound:
    """Bound the number of kept landmarks that overlap, with 95 % confidence.

    Args:
        strata: disjoint; together all kept landmarks.
        recognised: how many of the known overlapping landmarks that were shown among the others were recognised.
        checks: how many were shown.

    Raises:
        DataError: more were recognised than shown, or found than judged, or judged than there are.
    """
    for stratum in strata:
        if not 0 <= stratum.found <= stratum.judged <= stratum.size:
            raise DataError(
                f"stratum {stratum.name!r}: {stratum.found} found of {stratum.judged} judged of {stratum.size}; "
                "each must be at most the next"
            )
    sensitivity = least_sensitivity(recognised, checks)
    shares = split_error(strata)
    most = tuple(
        most_overlapping(stratum, sensitivity=sensitivity, error=share)
        for stratum, share in zip(strata, shares, strict=True)
    )
    return Bound(most, sensitivity, sum(most) - sum(stratum.found for stratum in strata))


def least_sensitivity(recognised: int, checks: int, *, error: float = ERROR) -> float:
    """Return the lower Clopper-Pearson limit of the share of overlapping landmarks that reviewers recognise.

    Raises:
        DataError: more were recognised than shown.
    """
    if not 0 <= recognised <= checks:
        raise DataError(
            f"{recognised} of {checks} known landmarks were recognised; the first must be at most the other"
        )
    return clopper_pearson(recognised, checks, error=2 * error)[0]


def most_overlapping(stratum: Stratum, *, sensitivity: float, error: float) -> int:
    """Return the greatest number of overlapping landmarks under which finding so few has a chance above `error`."""
    low, high = stratum.found, stratum.size
    while low < high:
        middle = (low + high + 1) // 2
        if chance_of_at_most(stratum, middle, sensitivity=sensitivity) > error:
            low = middle
        else:
            high = middle - 1
    return low


def chance_of_at_most(stratum: Stratum, n_overlapping: int, *, sensitivity: float) -> float:
    """Return the chance to find at most as many as were found if so many landmarks of the stratum overlap."""
    drawn = np.arange(min(n_overlapping, stratum.judged, _most_drawn(stratum.found, sensitivity)) + 1)
    chances = _chances_drawn(drawn, stratum, n_overlapping)
    return float((chances * special.bdtr(np.minimum(stratum.found, drawn), drawn, sensitivity)).sum())


def split_error(strata: Sequence[Stratum], *, error: float = ERROR) -> list[float]:
    """Share out the error among the strata so that the bound is least when nothing is found.

    With a share e of the error, a stratum of which the part f is judged has the bound ln(e) / ln(1 - s f). The sum is
    least when the shares are as 1 / -ln(1 - s f). It looks at the design alone, with s = 0.9, so it costs no validity.
    A stratum of which nothing is judged needs none, its bound is its size; nor does an empty one.
    """
    weights = [_weight(stratum) for stratum in strata]
    whole = sum(weight for weight in weights if weight < inf)
    return [error * weight / whole if 0 < weight < inf else 0.0 for weight in weights]


def judgements_for_bound(
    n_landmarks: int, *, at_most: int = 5, n_whole: int = 0, checks: int = 200, missed: int = 0
) -> int:
    """Return how many landmarks must be judged for a bound, if none of them is found to overlap.

    Args:
        n_landmarks: kept landmarks.
        at_most: the wanted bound on overlapping landmarks that are left.
        n_whole: landmarks of the top stratum, judged whole.
        checks: known overlapping landmarks shown among the others to measure the sensitivity.
        missed: how many of these are expected not to be recognised.

    Returns:
        Landmarks of the top stratum, of the random sample of the others, and checks, together.

    Raises:
        DataError: not even judging all landmarks gives the bound.
    """

    def bound(judged: int) -> int:
        strata = (Stratum("top", n_whole, n_whole), Stratum("others", n_landmarks - n_whole, judged))
        return bound_overlap(strata, recognised=checks - missed, checks=checks).remaining

    low, high = 0, n_landmarks - n_whole
    if bound(high) > at_most:
        raise DataError(
            f"a bound of {at_most} landmarks is out of reach: with all {n_landmarks} judged and {checks - missed} of "
            f"{checks} checks recognised it is {bound(high)}; show more checks"
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) <= at_most else (middle + 1, high)
    return n_whole + low + checks


def _most_drawn(found: int, sensitivity: float) -> int:
    """Return a number drawn above which finding so few has a chance below 1e-12 (Chernoff), not worth summing."""
    return ceil((found + 60 + 10 * sqrt(found)) / sensitivity) if sensitivity else 2**62


def _chances_drawn(drawn: NDArray[np.int64], stratum: Stratum, n_overlapping: int) -> NDArray[np.float64]:
    """Return hypergeometric chances by log-gamma: scipy's own take milliseconds each in a stratum of 80,000."""
    others = stratum.size - n_overlapping
    rest = stratum.judged - drawn
    logs = _log_choose(n_overlapping, drawn) + _log_choose(others, rest) - _log_choose(stratum.size, stratum.judged)
    chances: NDArray[np.float64] = np.exp(np.where((rest >= 0) & (rest <= others), logs, -np.inf))
    return chances


def _log_choose(n: int, k: NDArray[np.int64] | int) -> NDArray[np.float64]:
    taken = np.clip(k, 0, n)
    logs: NDArray[np.float64] = special.gammaln(n + 1) - special.gammaln(taken + 1) - special.gammaln(n - taken + 1)
    return logs


def _weight(stratum: Stratum) -> float:
    if not stratum.size:
        return 0.0
    share = stratum.judged / stratum.size
    return 1 / -log1p(-_PLANNED_SENSITIVITY * share) if share else inf
