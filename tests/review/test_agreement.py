"""Agreement against published worked examples and literal restatements."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from overlap.base.tables import ANSWERS
from overlap.review.agreement import (
    confusion,
    count_answers,
    false_confirmation,
    fleiss_kappa,
    gwet_ac1,
    judge_gold,
    pace,
    proportion,
)

# The worked example of Fleiss' kappa in Wikipedia: 10 subjects, 14 raters, 5 categories; kappa 0.210.
FLEISS = np.array(
    [
        [0, 0, 0, 0, 14],
        [0, 2, 6, 4, 2],
        [0, 0, 3, 5, 6],
        [0, 3, 9, 2, 0],
        [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0],
        [3, 2, 6, 3, 0],
        [2, 5, 3, 2, 2],
        [6, 5, 2, 1, 0],
        [0, 2, 2, 3, 7],
    ]
)


def test_fleiss_kappa_of_the_published_example():
    figure = fleiss_kappa(FLEISS)
    assert figure.value == pytest.approx(0.210, abs=5e-4)
    assert figure.low < figure.value < figure.high
    assert figure.n == 10


def test_ac1_by_hand_where_kappa_fails():
    # Gwet's paradox: of 125 pairs of answers, 118 yes-yes, 2 no-no, 5 split. po = 120/125; the share of yes is 241/250.
    counts = np.array([[2, 0]] * 118 + [[0, 2]] * 2 + [[1, 1]] * 5)
    po, yes = 120 / 125, 241 / 250
    by_chance = 2 * yes * (1 - yes)
    assert gwet_ac1(counts).value == pytest.approx((po - by_chance) / (1 - by_chance))
    assert gwet_ac1(counts).value > 0.95
    assert fleiss_kappa(counts).value < 0.5


@settings(max_examples=12, deadline=None)
@given(st.lists(st.lists(st.sampled_from(ANSWERS), min_size=3, max_size=3), min_size=2, max_size=12))
def test_agreement_is_the_share_of_agreeing_pairs_against_chance(rows):
    counts = count_answers([dict(enumerate(map(str, row))) for row in rows])
    agree = np.mean([np.mean([a == b for a, b in combinations(row, 2)]) for row in rows])
    share = [np.mean([answer == each for row in rows for answer in row]) for each in ANSWERS]
    for figure, chance in (
        (fleiss_kappa(counts), sum(p * p for p in share)),
        (gwet_ac1(counts), sum(p * (1 - p) for p in share) / (len(ANSWERS) - 1)),
    ):
        if chance < 1:
            assert figure.value == pytest.approx((agree - chance) / (1 - chance))
        else:
            assert math.isnan(figure.value)


def test_items_with_one_answer_say_nothing():
    figure = fleiss_kappa(count_answers([{"a": "same"}, {}]))
    assert math.isnan(figure.value)
    assert figure.n == 0


def test_intervals_are_clopper_and_pearsons():
    figure = proportion(9, 10)
    assert figure.value == 0.9
    assert figure.low == pytest.approx(stats.beta.ppf(0.025, 9, 2))
    assert figure.high == pytest.approx(stats.beta.ppf(0.975, 10, 1))
    assert math.isnan(proportion(0, 0).value)


def test_gold_figures():
    votes = [("ann", "t1", "same"), ("ann", "t2", "unsure"), ("ann", "f1", "different"), ("ann", "x", "same")]
    figures = judge_gold([*votes, ("bob", "f1", "same_other_side")], {"t1": True, "t2": True, "f1": False})
    assert (figures["ann"].sensitivity.value, figures["ann"].specificity.value) == (0.5, 1)
    assert (figures["bob"].specificity.value, figures["bob"].sensitivity.n) == (0, 0)


def test_one_in_seven_different_pairs_is_confirmed_by_mistake():
    assert false_confirmation([0.95] * 3) == pytest.approx(1 - 0.95**3)
    assert false_confirmation([0.95] * 3, confirmations=2) == pytest.approx(3 * 0.95 * 0.05**2 + 0.05**3)


def test_confusion_and_pace():
    counts = confusion([{"a": "same", "b": "different"}, {"a": "same"}, {"a": "unsure", "b": "unsure"}], "a", "b")
    assert counts.sum() == 2
    assert counts[0, 3] == counts[4, 4] == 1
    assert pace([0, 0, 6000, 12_000, 10_000_000]) == pytest.approx(10)
    assert math.isnan(pace([5]))
