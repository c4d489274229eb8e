import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from overlap.base.tables import LocalFeatures
from overlap.verify.match import MOST_TRUST, match_features, match_mutual, trust_of_ratio
from overlap.verify.presets import PRESETS

SIFT = PRESETS["sift"]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make(xy, descriptors, size_px=(300, 400)):
    n = len(xy)
    ones = np.ones(n, np.float32)
    return LocalFeatures(np.asarray(xy, np.float32).reshape(n, 2), ones, ones, ones, descriptors, size_px)


def literal_mutual(query, photo):
    """Mutual nearest neighbours by loops."""
    found = {}
    for i in range(len(query)):
        to = [float(np.linalg.norm(query[i].astype(float) - photo[j])) for j in range(len(photo))]
        j = to.index(min(to))
        back = [float(np.linalg.norm(query[k].astype(float) - photo[j])) for k in range(len(query))]
        if back.index(min(back)) == i:
            others = [d for k, d in enumerate(to) if k != j] + [d for k, d in enumerate(back) if k != i]
            found[i, j] = min(to) / min(others)
    return found


@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_mutual_matches_are_those_of_plain_loops(seed, m, k):
    rng = np.random.default_rng(seed)
    query, photo = unit(rng.normal(size=(m, 8))), unit(rng.normal(size=(k, 8)))
    pairs, ratios = match_mutual(query, photo)
    wanted = literal_mutual(query, photo)
    assert {tuple(pair) for pair in pairs.tolist()} == set(wanted)
    for pair, ratio in zip(pairs.tolist(), ratios, strict=True):
        assert ratio == pytest.approx(min(wanted[tuple(pair)], 1), abs=1e-3)


@given(hnp.arrays(np.int64, st.tuples(st.integers(2, 9), st.just(3)), elements=st.integers(1, 2)))
@settings(max_examples=40, deadline=None)
def test_no_feature_is_matched_twice_even_where_many_are_alike(rows):
    pairs, ratios = match_mutual(unit(rows), unit(rows[::-1].copy()))
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    assert (ratios >= 0).all()
    assert (ratios <= 1).all()


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (1, 5), (5, 1), (0, 0)])
def test_under_two_features_give_no_match(sizes):
    rng = np.random.default_rng(0)
    query, photo = (rng.normal(size=(n, 8)).astype(np.float32) for n in sizes)
    pairs, ratios = match_mutual(query, photo)
    assert pairs.shape == (0, 2)
    assert ratios.shape == (0,)


def test_trust_is_half_its_most_at_the_even_ratio_and_falls():
    assert trust_of_ratio(np.array([SIFT.even_ratio]), SIFT)[0] == pytest.approx(MOST_TRUST / 2)
    assert trust_of_ratio(np.array([0.84]), SIFT)[0] == pytest.approx(0.6 / (1 + np.e))
    assert (np.diff(trust_of_ratio(np.linspace(0, 1, 50), SIFT)) < 0).all()


def test_matches_that_collapse_onto_one_point_count_once():
    rows = unit(np.random.default_rng(0).normal(size=(20, 32)))
    apart = np.stack([np.arange(20) * 14, np.arange(20) * 19], axis=1)
    together = np.full((20, 2), 50)
    assert len(match_features(make(apart, rows), make(apart, rows), preset=SIFT).pairs) == 20
    assert len(match_features(make(apart, rows), make(together, rows), preset=SIFT).pairs) == 1
    assert len(match_features(make(together, rows), make(apart, rows), preset=SIFT).pairs) == 1


def test_the_most_trusted_come_first_and_at_most_400():
    rng = np.random.default_rng(1)
    rows = unit(rng.normal(size=(700, 64)))
    noisy = unit(rows + rng.normal(size=rows.shape) * rng.uniform(0, 0.1, (700, 1)))
    xy = rng.uniform(0, 4000, (700, 2))
    found = match_features(make(xy, rows, (4000, 4000)), make(xy, noisy, (4000, 4000)), preset=SIFT)
    assert len(found.pairs) == 400
    assert (np.diff(found.trusts) <= 0).all()


def test_a_learned_matcher_is_asked_and_its_confidence_is_trust():
    rows = unit(np.random.default_rng(0).normal(size=(5, 8)))
    photo = make(np.arange(10).reshape(5, 2) * 25, rows)
    found = match_features(
        photo,
        photo,
        preset=SIFT,
        match=lambda *_: (np.array([[1, 2], [3, 4]], np.int32), np.array([0.5, 1.0], np.float32)),
    )
    assert found.pairs.tolist() == [[3, 4], [1, 2]]
    np.testing.assert_allclose(found.trusts, [0.6, 0.3])
