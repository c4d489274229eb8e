import numpy as np
import pytest

from overlap.base.errors import DataError
from overlap.study.evaluation.resampling import (
    as_estimate,
    draw_weights,
    estimate_difference,
    estimate_mean,
    resample_means,
)


def simulate(rng, *, truth, landmarks=12, seeds=5, draws=5, of_landmark=0.1, of_seed=0.02, of_draw=0.02, noise=0.05):
    """Draw (S, K, Q) values whose landmarks, seeds and draws differ, three queries a landmark."""
    groups = np.repeat(np.arange(landmarks), 3)
    values = (
        truth
        + rng.normal(0, of_landmark, landmarks)[groups]
        + rng.normal(0, of_seed, seeds)[:, None, None]
        + rng.normal(0, of_draw, draws)[None, :, None]
        + rng.normal(0, noise, (seeds, draws, landmarks))[:, :, groups]
        + rng.normal(0, noise, (seeds, draws, 3 * landmarks))
    )
    return values, groups


@pytest.mark.parametrize(
    "spread",
    [{}, {"of_landmark": 0.02, "of_seed": 0.05, "of_draw": 0.0}, {"seeds": 1, "draws": 1, "noise": 0.02}],
    ids=["landmarks", "seeds", "one seed"],
)
def test_the_interval_holds_the_truth_in_about_95_of_100_simulations(spread):
    rng = np.random.default_rng(1)
    if spread.get("seeds") == 1:
        spread = {**spread, "of_seed": 0.0, "of_draw": 0.0}
    estimates = [estimate_mean(*simulate(rng, truth=0.07, **spread), rng=rng, resamples=400) for _ in range(200)]
    covered = np.mean([each.low <= 0.07 <= each.high for each in estimates])
    assert (
        0.91 <= covered <= 0.995
    )  # 0.95, the error of 200 simulations, and crossed levels being over-counted a little


def test_intervals_over_queries_instead_of_landmarks_would_be_too_short():
    rng = np.random.default_rng(2)
    values, groups = simulate(rng, truth=0, seeds=1, draws=1, of_seed=0, of_draw=0, noise=0.01)
    by_landmark = estimate_mean(values, groups, rng=rng, resamples=2000)
    by_query = estimate_mean(values, np.arange(len(groups)), rng=rng, resamples=2000)
    assert by_query.high - by_query.low < 0.8 * (by_landmark.high - by_landmark.low)


def test_a_null_effect_gives_about_zero():
    rng = np.random.default_rng(3)
    values = [estimate_mean(*simulate(rng, truth=0), rng=rng, resamples=200).value for _ in range(100)]
    assert abs(np.mean(values)) < 0.015


def test_resampled_means_equal_a_loop_over_the_same_draws():
    values, groups = simulate(np.random.default_rng(4), truth=0.2, landmarks=4, seeds=3, draws=2)
    weights = draw_weights(np.random.default_rng(5), n_seeds=3, n_draws=2, resamples=6)
    found = resample_means(values, groups, weights=weights, rng=np.random.default_rng(6))
    drawn = np.random.default_rng(6).multinomial(3, np.full(4, 1 / 4), size=6)
    for b in range(6):
        total = count = 0.0
        for q, group in enumerate(groups):
            weight = drawn[b, group]
            count += weight
            for s in range(3):
                for k in range(2):
                    total += weight * weights.seeds[b, s] * weights.draws[b, k] * values[s, k, q]
        assert found[b] == pytest.approx(total / count, abs=1e-12)


def test_the_standard_deviation_is_that_of_a_mean_of_independent_landmarks():
    rng = np.random.default_rng(7)
    each = rng.normal(0, 1, 30)
    weights = draw_weights(rng, n_seeds=1, n_draws=1, resamples=20_000)
    means = resample_means(each[None, None], np.arange(30), weights=weights, rng=rng)
    assert means.std() == pytest.approx(each.std(ddof=1) / np.sqrt(30), rel=0.03)


def test_the_difference_of_two_kinds_shares_seeds_and_draws():
    rng = np.random.default_rng(8)
    by_seed = rng.normal(0, 0.3, (5, 1, 1))
    first = by_seed + 0.5 + rng.normal(0, 0.01, (5, 3, 12))
    second = by_seed + rng.normal(0, 0.01, (5, 3, 12))
    groups = np.arange(12)
    estimate = estimate_difference((first, groups), (second, groups), rng=rng, resamples=1000)
    assert estimate.value == pytest.approx(0.5, abs=0.02)
    assert estimate.high - estimate.low < 0.1  # the seeds' large common part has gone


def test_few_units_widen_the_interval():
    means = np.random.default_rng(9).normal(0, 1, 20_000)
    plain, widened = as_estimate(0, means, freedom=np.inf), as_estimate(0, means, freedom=4)
    assert plain.high == pytest.approx(1.96, abs=0.08)
    assert widened.high == pytest.approx(2.776, abs=0.2)


def test_equal_values_have_an_interval_of_no_width():
    estimate = estimate_mean(np.full((2, 2, 6), 0.25), np.arange(6), rng=np.random.default_rng(0), resamples=50)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.25, 0.25, 0.25))


def test_no_query_is_an_error():
    with pytest.raises(DataError, match="there is no query to average over"):
        estimate_mean(np.empty((1, 1, 0)), np.empty(0, dtype=int), rng=np.random.default_rng(0))
