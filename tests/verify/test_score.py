import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.verify.score import score_of


def test_the_score_is_even_at_the_even_bet():
    assert score_of(40.0, even_nats=40.0) == pytest.approx(0.5, abs=1e-3)


@given(st.floats(-30, 5000), st.floats(0.1, 100))
def test_the_score_grows_and_stays_between_0_and_1(evidence, more):
    low, high = score_of(evidence, even_nats=40), score_of(evidence + more, even_nats=40)
    assert 0 < low < high < 1


@given(st.floats(-40, 400))
def test_the_score_is_the_formula(evidence):
    bent = 5 * math.log(1 + math.exp(evidence / 5))
    assert score_of(evidence, even_nats=40) == pytest.approx(bent / (bent + 40))
