"""Which queries belong together: those that share a positive photo show one landmark."""

from collections.abc import Iterable, Sequence

import numpy as np

from overlap.study.evaluation.protocol import IndexArray, Truth


def group_queries(truths: Sequence[Truth]) -> IndexArray:
    """Number the landmarks of queries: (Q,), from 0 in order of appearance.

    Queries that share an easy or hard photo have the same number, and so have those joined by others; junk joins none.
    """
    return join_sets([{*np.asarray(truth.easy).tolist(), *np.asarray(truth.hard).tolist()} for truth in truths])


def join_sets(sets: Sequence[Iterable[object]]) -> IndexArray:
    """Number sets so that those with a common member, directly or through others, have the same number.

    Returns:
        (M,) numbers from 0 in order of appearance; an empty set has a number of its own.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    columns: dict[object, int] = {}
    pairs = [
        (row, len(sets) + columns.setdefault(member, len(columns)))
        for row, members in enumerate(sets)
        for member in members
    ]
    size = len(sets) + len(columns)
    rows, places = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(pairs)), (rows, places)), shape=(size, size))
    labels = connected_components(graph, directed=False)[1][: len(sets)]
    _, first = np.unique(labels, return_index=True)
    number = {int(labels[place]): turn for turn, place in enumerate(sorted(first.tolist()))}
    return np.array([number[int(label)] for label in labels], dtype=np.int64)
