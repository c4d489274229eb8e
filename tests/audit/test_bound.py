"""The bound by exact enumeration, by Clopper and Pearson's own limit, and by its promise."""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from overlap.audit.bound import (
    ERROR,
    Stratum,
    bound_overlap,
    chance_of_at_most,
    judgements_for_bound,
    least_sensitivity,
    most_overlapping,
    split_error,
)
from overlap.base.errors import DataError


def slow_chance(stratum: Stratum, n_overlapping: int, sensitivity: Fraction) -> Fraction:
    """Sum over how many overlapping landmarks are drawn and how many of those are recognised."""
    total = Fraction(0)
    for drawn in range(min(n_overlapping, stratum.judged) + 1):
        ways = comb(n_overlapping, drawn) * comb(stratum.size - n_overlapping, stratum.judged - drawn)
        for seen in range(min(drawn, stratum.found) + 1):
            chance = comb(drawn, seen) * sensitivity**seen * (1 - sensitivity) ** (drawn - seen)
            total += Fraction(ways, comb(stratum.size, stratum.judged)) * chance
    return total


strata = st.integers(1, 12).flatmap(
    lambda size: st.integers(0, size).flatmap(
        lambda judged: st.integers(0, judged).map(lambda found: Stratum("s", size, judged, found))
    )
)


@settings(deadline=None)
@given(strata, st.sampled_from([Fraction(0), Fraction(1, 3), Fraction(9, 10), Fraction(1)]))
def test_the_bound_is_the_greatest_number_that_exact_enumeration_allows(stratum, sensitivity):
    error = Fraction(1, 40)
    chances = {t: slow_chance(stratum, t, sensitivity) for t in range(stratum.found, stratum.size + 1)}
    assume(error not in chances.values())  # to which side of the limit a float then falls is chance
    expected = max((t for t, chance in chances.items() if chance > error), default=stratum.found)
    assert most_overlapping(stratum, sensitivity=float(sensitivity), error=float(error)) == expected
    for t, chance in chances.items():
        found = chance_of_at_most(stratum, t, sensitivity=float(sensitivity))
        assert found == pytest.approx(float(chance), abs=1e-9)


@pytest.mark.parametrize("found", [0, 1, 7])
def test_in_a_large_stratum_it_is_clopper_and_pearsons_limit(found):
    stratum = Stratum("s", 10_000_000, 2000, found)
    limit = stats.binomtest(found, 2000).proportion_ci(0.95, method="exact").high
    assert most_overlapping(stratum, sensitivity=1.0, error=0.025) / 10_000_000 == pytest.approx(limit, rel=2e-3)


def test_nothing_found_in_3000_drawn_blindly_still_allows_81_to_100():
    allowed = most_overlapping(Stratum("all", 81_313, 3000), sensitivity=1.0, error=0.05)
    assert allowed == pytest.approx(81_313 * 3 / 3000, rel=0.03)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 25), st.data())
def test_it_is_below_the_truth_no_more_often_than_promised(size, data):
    judged, truth = data.draw(st.integers(0, size)), data.draw(st.integers(0, size))
    sensitivity = data.draw(st.sampled_from([0.4, 0.8, 1.0]))
    wrong = 0.0
    for found in range(min(judged, truth) + 1):
        seen = Stratum("s", size, judged, found)
        if most_overlapping(seen, sensitivity=sensitivity, error=0.05) < truth:
            wrong += chance_of_at_most(seen, truth, sensitivity=sensitivity)
            if found:
                wrong -= chance_of_at_most(Stratum("s", size, judged, found - 1), truth, sensitivity=sensitivity)
    assert wrong <= 0.05 + 1e-9


def test_the_error_is_shared_out_whole_and_by_the_design_alone():
    design = [Stratum("top", 30, 30), Stratum("below", 500, 100), Stratum("none", 800, 0), Stratum("empty", 0, 0)]
    shares = split_error(design)
    assert sum(shares) == pytest.approx(ERROR)
    assert shares[1] > shares[0] > 0 == shares[2] == shares[3]
    assert split_error([Stratum("top", 30, 30, 9), *design[1:]]) == shares


def test_strata_add_up_and_what_was_found_is_no_longer_left():
    design = [Stratum("top", 30, 30, 4), Stratum("below", 500, 100, 1)]
    bound = bound_overlap(design, recognised=40, checks=40)
    assert bound.sensitivity == pytest.approx(0.025 ** (1 / 40))
    assert bound.most == tuple(
        most_overlapping(each, sensitivity=bound.sensitivity, error=share)
        for each, share in zip(design, split_error(design), strict=True)
    )
    assert bound.remaining == sum(bound.most) - 5


def test_without_checks_nothing_is_known():
    assert least_sensitivity(0, 0) == 0.0
    assert bound_overlap([Stratum("top", 30, 30)], recognised=0, checks=0).remaining == 30


def test_the_planned_number_of_judgements_is_the_least_that_gives_the_bound():
    n = judgements_for_bound(2000, at_most=5, n_whole=50, checks=100)

    def bound(n_sampled):
        strata = [Stratum("top", 50, 50), Stratum("others", 1950, n_sampled)]
        return bound_overlap(strata, recognised=100, checks=100).remaining

    assert bound(n - 150) <= 5 < bound(n - 151)


def test_wrong_counts_are_named():
    with pytest.raises(DataError, match=r"stratum 'top': 4 found of 3 judged of 9; each must be at most the next"):
        bound_overlap([Stratum("top", 9, 3, 4)], recognised=1, checks=1)
    with pytest.raises(DataError, match="5 of 4 known landmarks were recognised"):
        least_sensitivity(5, 4)
    with pytest.raises(DataError, match="a bound of 0 landmarks is out of reach: with all 100 judged and 9 of 10"):
        judgements_for_bound(100, at_most=0, checks=10, missed=1)
