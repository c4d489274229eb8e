"""Whether another version of the training set puts the methods in another order, and how sure that is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from overlap.study.evaluation.resampling import RESAMPLES, GroupArray, Values, draw_weights, resample_means


@dataclass(frozen=True)
class Orders:
    """Hold the order of methods, best first, with its uncertainty.

    Args:
        observed: by mean average precision over all queries and seeds; equal ones by their place.
        share: of the resamples that give this order.
        by_order: every order that came up, the most frequent first, with its share of the resamples.
    """

    observed: tuple[str, ...]
    share: float
    by_order: Mapping[tuple[str, ...], float]


@dataclass(frozen=True)
class Change:
    """Hold two versions' orders of the same methods, and the share of resamples in which they differ.

    Noise alone changes an order, too: read ``differs`` beside that of a placebo.
    """

    first: Orders
    second: Orders
    differs: float


def compare_orders(
    methods: Sequence[str],
    first: Sequence[Values],
    second: Sequence[Values],
    groups: GroupArray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Change:
    """Order methods on two versions, resampling landmarks and seeds, the same ones for all methods and both versions.

    Args:
        first: for each method (S, K, Q) average precision on one version (K = 1, or placebo draws).
        second: the same on the other.
        groups: (Q,) the landmark of each query.
    """
    drawn = [_resampled_orders(values, groups, seed=seed, resamples=resamples) for values in (first, second)]
    return Change(
        _summarise(methods, first, drawn[0]),
        _summarise(methods, second, drawn[1]),
        differs=float((drawn[0] != drawn[1]).any(axis=1).mean()),
    )


def _resampled_orders(values: Sequence[Values], groups: GroupArray, *, seed: int, resamples: int) -> GroupArray:
    """Return (B, M) places of methods, best first; the same seed resamples the same landmarks and seeds."""
    columns = []
    for each in values:
        rng = np.random.default_rng(seed)
        weights = draw_weights(rng, n_seeds=each.shape[0], n_draws=1, resamples=resamples)
        columns.append(resample_means(each.mean(axis=1, keepdims=True), groups, weights=weights, rng=rng))
    return np.argsort(-np.stack(columns, axis=1), axis=1, kind="stable")


def _summarise(methods: Sequence[str], values: Sequence[Values], drawn: GroupArray) -> Orders:
    means = np.array([each.mean() for each in values])
    observed = tuple(methods[place] for place in np.argsort(-means, kind="stable"))
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    shares = {
        tuple(methods[place] for place in order): float(count / len(drawn))
        for order, count in zip(found.tolist(), counts.tolist(), strict=True)
    }
    by_order = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Orders(observed, shares.get(observed, 0.0), by_order)
