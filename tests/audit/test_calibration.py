"""The chance of a pair: scikit-learn's isotonic regression as oracle, and landmarks kept apart when validated."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.audit.calibration import fit_chance, validate_chance
from overlap.base.errors import DataError

judged = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(same for _, same in rows) < len(rows)
)


@settings(deadline=None)
@given(judged)
def test_it_is_scikit_learns_isotonic_regression(rows):
    isotonic = pytest.importorskip("sklearn.isotonic").IsotonicRegression(out_of_bounds="clip")
    scores = np.array([score / 20 for score, _ in rows])
    same = np.array([each for _, each in rows])
    asked = np.linspace(-0.2, 1.2, 41)
    expected = isotonic.fit(scores, same.astype(float)).predict(asked)
    assert fit_chance(scores, same).chance_of(asked) == pytest.approx(expected, abs=1e-6)


def world(n_landmarks, seed):
    """Pairs whose chance is their score, but whose landmark, too, shifts it."""
    rng = np.random.default_rng(seed)
    landmarks = np.repeat(np.arange(n_landmarks), 30)
    scores = rng.random(len(landmarks))
    return scores, rng.random(len(scores)) < scores, landmarks


def test_validated_chances_are_near_the_truth_and_better_than_the_share():
    found = validate_chance(*world(60, 0))
    assert found.brier == pytest.approx(1 / 6, abs=0.02)
    assert found.brier < found.brier_of_share == pytest.approx(1 / 4, abs=0.01)
    assert (found.n_pairs, found.n_landmarks) == (1800, 60)
    assert sum(n for _, _, n in found.bins) == 1800
    for chance, share, _ in found.bins:
        assert chance == pytest.approx(share, abs=0.12)


def test_a_landmark_is_never_on_both_sides():
    """What is true of a landmark as a whole can't be learnt from its other pairs."""
    rng = np.random.default_rng(1)
    landmarks = np.repeat(np.arange(40), 25)
    scores = landmarks / 40 + 1e-6 * rng.random(1000)
    same = (rng.random(40) < 0.5)[landmarks]
    assert validate_chance(scores, same, landmarks).brier > 0.2


def test_one_sided_truth_is_an_error():
    with pytest.raises(DataError, match="2 of 2 judged pairs are same; a chance needs both"):
        fit_chance(np.array([0.1, 0.2]), np.array([True, True]))
    with pytest.raises(DataError, match="0 of 0 judged pairs are same"):
        fit_chance(np.array([]), np.array([], bool))
