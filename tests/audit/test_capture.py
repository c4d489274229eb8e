"""Chao's estimate by hand, by the case it is unbiased for, and by what it leaves out."""

from math import isnan

import numpy as np
import pytest

from overlap.audit.capture import estimate_missing
from overlap.base.tables import FOUND, as_table


def found(**detectors):
    rows = [{"detector": name, "landmark_id": each} for name, ids in detectors.items() for each in ids]
    return as_table(rows, FOUND)


def test_it_equals_the_formula_by_hand():
    capture = estimate_missing(found(looks=[1, 2, 3, 4, 9], names=[3, 5], copies=[4, 4]), range(1, 7), detectors=3)
    assert (capture.n_found, capture.n_once, capture.n_twice) == (5, 3, 2)
    assert capture.n_missing == pytest.approx(2 / 3 * 3 * 2 / (2 * 3))
    assert capture.by_detector == {"copies": 1, "looks": 4, "names": 2}


def test_what_people_did_not_confirm_is_left_out_and_one_detector_says_nothing():
    assert estimate_missing(found(looks=[1, 2]), [], detectors=2).n_found == 0
    assert isnan(estimate_missing(found(looks=[1, 2]), [1, 2], detectors=1).n_missing)


def test_independent_detectors_give_about_the_truth_and_detectors_that_err_alike_too_little():
    rng = np.random.default_rng(0)
    hard = rng.random(4000) < 0.5
    alike, independent = [], []
    for estimates, chance in ((independent, np.full(4000, 0.5)), (alike, np.where(hard, 0.03, 0.5))):
        hits = {f"d{n}": np.flatnonzero(rng.random(4000) < chance).tolist() for n in range(5)}
        capture = estimate_missing(found(**hits), range(4000), detectors=5)
        estimates.append((capture.n_missing, 4000 - capture.n_found))
    assert independent[0][0] == pytest.approx(independent[0][1], rel=0.35)
    assert alike[0][0] < alike[0][1] / 2
