"""Recall by k, by hand and at its ends."""

from overlap.audit.recall import RecallPoint, recall_by_k

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
