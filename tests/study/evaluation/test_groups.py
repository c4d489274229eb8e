from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from overlap.study.evaluation.groups import group_queries, join_sets


@dataclass
class Truth:
    easy: np.ndarray
    hard: np.ndarray
    junk: np.ndarray


def truth(easy=(), hard=(), junk=()):
    return Truth(*(np.array(rows, dtype=np.int64) for rows in (easy, hard, junk)))


def test_queries_that_share_a_positive_show_one_landmark():
    truths = [truth([5], [6]), truth([1], junk=[9]), truth(hard=[6, 7]), truth([7]), truth(junk=[9]), truth([1])]
    assert group_queries(truths).tolist() == [0, 1, 0, 0, 2, 1]


def test_no_query_has_no_group():
    assert join_sets([]).tolist() == []


@given(st.lists(st.sets(st.integers(0, 12), max_size=3), max_size=12))
def test_joined_sets_equal_a_slow_merge(sets):
    found = join_sets(sets).tolist()
    merged = [{row} for row in range(len(sets))]
    for _ in sets:  # a chain is as long as the list at most
        for a in range(len(sets)):
            for b in range(len(sets)):
                if {x for row in merged[a] for x in sets[row]} & {x for row in merged[b] for x in sets[row]}:
                    merged[a] = merged[b] = merged[a] | merged[b]
    expected: dict[frozenset[int], int] = {}
    assert found == [expected.setdefault(frozenset(group), len(expected)) for group in merged]
