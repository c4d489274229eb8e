"""The false-match rate from negative controls."""

import pytest
from scipy import stats

from overlap.audit.negatives import measure_false_matches
from overlap.base.errors import DataError


def test_the_rate_is_that_of_controls_at_the_threshold_with_its_exact_interval():
    best = {1: 0.9, 2: 0.5, 3: 0.2, 7: 0.95, 8: 0.9, 9: 0.1}
    found = measure_false_matches(best, [1, 2, 3, 4], [7, 8, 9, 10], threshold=0.5)
    interval = stats.binomtest(2, 4).proportion_ci(method="exact")
    assert (found.n_controls, found.n_matched, found.rate) == (4, 2, 0.5)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.highest == 0.9
    assert found.within_reach == (8, 9, 10)


def test_no_control_and_a_removed_control_are_errors():
    with pytest.raises(DataError, match=r"audit.elsewhere lists no landmark of the training set; false matches need"):
        measure_false_matches({}, [], [], threshold=0.5)
    with pytest.raises(DataError, match=r"audit.elsewhere: landmark_id 2, 3 was removed: reviewers confirmed"):
        measure_false_matches({}, [1, 2, 3], [2, 3], threshold=0.5)
