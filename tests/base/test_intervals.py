import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from overlap.base.intervals import clopper_pearson


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from([0.05, 0.01]))
def test_the_limits_are_those_of_scipy(n, share, error):
    hits = round(share * n)
    expected = stats.binomtest(hits, n).proportion_ci(1 - error, method="exact")
    assert clopper_pearson(hits, n, error=error) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_publishing_does_not_wait_for_scipy_stats():
    program = "import sys, overlap.pipeline.publish; print('scipy.stats' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"
