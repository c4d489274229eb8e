import numpy as np
import pytest

from overlap.study.evaluation.order import compare_orders

GROUPS = np.repeat(np.arange(10), 3)


def scores(mean, *, noise, seed):
    rng = np.random.default_rng(seed)
    return mean + rng.normal(0, noise, (4, 1, 10))[:, :, GROUPS] + rng.normal(0, noise, (4, 1, 30))


def test_methods_that_swap_places_are_seen_to():
    full = [scores(0.6, noise=0.01, seed=1), scores(0.5, noise=0.01, seed=2)]
    clean = [scores(0.4, noise=0.01, seed=3), scores(0.5, noise=0.01, seed=4)]
    change = compare_orders(("cider", "gem"), full, clean, GROUPS, resamples=500)
    assert change.first.observed == ("cider", "gem")
    assert change.second.observed == ("gem", "cider")
    assert change.first.share == change.second.share == change.differs == 1


def test_equal_methods_are_in_either_order():
    full, clean = ([scores(0.5, noise=0.05, seed=turn + 4 * version) for turn in range(3)] for version in range(2))
    change = compare_orders(("a", "b", "c"), full, clean, GROUPS, resamples=2000)
    assert sum(change.first.by_order.values()) == pytest.approx(1)
    assert len(change.first.by_order) >= 3
    assert next(iter(change.first.by_order.values())) == max(change.first.by_order.values()) < 0.95
    assert 0 < change.differs < 1


def test_both_versions_are_resampled_alike():
    values = [scores(0.5, noise=0.05, seed=turn) for turn in range(3)]
    assert compare_orders(("a", "b", "c"), values, [each.copy() for each in values], GROUPS, resamples=500).differs == 0


def test_placebo_draws_are_averaged():
    one = scores(0.5, noise=0.01, seed=1)
    many = np.concatenate([one - 0.2, one + 0.2], axis=1)
    change = compare_orders(("a",), [one], [many], GROUPS, resamples=100)
    assert change.second.by_order == {("a",): 1.0}
