"""Recall by k, by hand and at its ends."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlap.audit.recall import RecallPoint, least_limit, list_steps, recall_by_k, share_within

RANKS = {("s", "p"): {"a": 0, "b": 4, "x": 1}, ("s", "q"): {"c": 9}}
POSITIVES = {("s", "p"): {1: ["a", "b", "far"], 2: ["x"]}, ("s", "q"): {3: ["c"]}, ("s", "r"): {1: ["a"]}}


def test_it_is_the_share_of_photos_and_of_landmarks_among_the_first_k():
    assert recall_by_k(RANKS, POSITIVES, k=10) == (
        RecallPoint(1, 1 / 6, 1 / 4),
        RecallPoint(2, 2 / 6, 2 / 4),
        RecallPoint(5, 3 / 6, 2 / 4),
        RecallPoint(10, 4 / 6, 3 / 4),
    )


def test_it_ends_at_k_and_is_empty_without_positives():
    assert [point.k for point in recall_by_k(RANKS, POSITIVES, k=7)] == [1, 2, 5, 7]
    assert recall_by_k(RANKS, {}, k=7) == ()


@pytest.mark.parametrize(("k", "steps"), [(1, [1]), (9, [1, 2, 5, 9]), (20, [1, 2, 5, 10, 20]), (0, [0])])
def test_steps_go_up_to_k(k: int, steps: list[int]):
    assert list_steps(k) == steps


@given(st.lists(st.integers(1, 30), min_size=1), st.floats(0.01, 1))
def test_the_least_limit_is_the_first_that_enough_are_within(values: list[int], share: float):
    limit = next(limit for limit in range(31) if share_within(values, limit) >= share)
    assert least_limit(values, share) == limit


def test_of_nothing_there_is_no_share():
    assert math.isnan(share_within([], 5))
