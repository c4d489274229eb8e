"""Means over queries, seeds and placebo draws, with intervals by resampling what varies.

Queries of one landmark share their positive photos, so that landmarks are resampled, not queries; training seeds and
placebo draws are crossed with them and resampled beside them, each level independently.

Source: Owen, The pigeonhole bootstrap (2007), for crossed levels; of n units n - 1 are drawn, which makes the variance
unbiased (Rao and Wu 1988); the percentiles are taken further out by as much as Student's t is wider than the normal
(Hesterberg 2015), with Satterthwaite's degrees of freedom; tests/study/evaluation/test_resampling.py has the coverage.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError

Values: TypeAlias = NDArray[np.float64]
GroupArray: TypeAlias = NDArray[np.int64]

RESAMPLES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """Hold a mean and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Weights:
    """Hold how much each unit of a level counts in each of B resamples; rows sum to 1.

    Args:
        seeds: (B, S).
        draws: (B, K), of placebo draws.
    """

    seeds: Values
    draws: Values


def draw_weights(rng: np.random.Generator, *, n_seeds: int, n_draws: int, resamples: int = RESAMPLES) -> Weights:
    """Draw the weights of the levels that all queries share."""
    return Weights(_draw(rng, n_seeds, resamples), _draw(rng, n_draws, resamples))


def resample_means(values: Values, groups: GroupArray, *, weights: Weights, rng: np.random.Generator) -> Values:
    """Return the (B,) means of resampled values.

    Args:
        values: (S, K, Q) of S seeds, K placebo draws and Q queries.
        groups: (Q,) which landmark each query shows; any numbers.
        weights: of seeds and draws, shared with whatever is compared.

    Raises:
        DataError: there is no query.
    """
    sums, counts = _group(values, groups)
    drawn = _draw(rng, len(counts), len(weights.seeds))
    by_draw = (weights.seeds @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:])  # (B, K, G)
    totals = ((weights.draws[:, np.newaxis] @ by_draw)[:, 0] * drawn).sum(axis=1)
    return np.asarray(totals / (drawn @ counts), dtype=np.float64)


def estimate_mean(
    values: Values, groups: GroupArray, *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Estimate the mean over seeds, placebo draws and queries.

    A level of one unit (one seed, say) is taken as fixed: the interval then says nothing about others of its kind.

    Args:
        values: (S, K, Q).
        groups: (Q,).

    Raises:
        DataError: there is no query.
    """
    weights = draw_weights(rng, n_seeds=values.shape[0], n_draws=values.shape[1], resamples=resamples)
    means = resample_means(values, groups, weights=weights, rng=rng)
    return as_estimate(float(values.mean()), means, freedom=_freedom(_spread(values, groups)))


def estimate_difference(
    first: tuple[Values, GroupArray],
    second: tuple[Values, GroupArray],
    *,
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Estimate the mean of one kind of query minus that of another, over the same seeds and placebo draws.

    Args:
        first: values (S, K, Q1) with their groups.
        second: values (S, K, Q2) with their groups.

    Raises:
        DataError: one has no query.
    """
    n_seeds, n_draws, _ = first[0].shape
    weights = draw_weights(rng, n_seeds=n_seeds, n_draws=n_draws, resamples=resamples)
    means = [resample_means(*each, weights=weights, rng=rng) for each in (first, second)]
    freedom = _freedom([*_spread(*first), *_spread(*second)])
    return as_estimate(float(first[0].mean() - second[0].mean()), means[0] - means[1], freedom=freedom)


def as_estimate(value: float, means: Values, *, freedom: float) -> Estimate:
    """Build the interval from resampled means.

    Args:
        freedom: degrees of freedom; infinite for plain percentiles.
    """
    from scipy.special import ndtr, stdtrit

    tail = float(ndtr(stdtrit(min(freedom, 1e9), (1 - LEVEL) / 2)))
    low, high = np.quantile(means, (tail, 1 - tail))
    return Estimate(value, float(low), float(high))


def _draw(rng: np.random.Generator, n: int, resamples: int) -> Values:
    """Draw n - 1 of n units with replacement, and return their shares."""
    if n == 1:
        return np.ones((resamples, 1))
    return rng.multinomial(n - 1, np.full(n, 1 / n), size=resamples) / (n - 1)


def _group(values: Values, groups: GroupArray) -> tuple[Values, Values]:
    """Return the sums (S, K, G) over each landmark's queries, and their counts (G,)."""
    if not len(groups):
        raise DataError("there is no query to average over; an evaluation set needs some of each kind")
    _, places = np.unique(groups, return_inverse=True)
    member = np.zeros((len(groups), places.max() + 1))
    member[np.arange(len(groups)), places] = 1
    return values @ member, member.sum(axis=0)


def _spread(values: Values, groups: GroupArray) -> list[tuple[float, int]]:
    """Return, for each level of two or more units, its part of the mean's variance and its degrees of freedom."""
    sums, counts = _group(values, groups)
    mean = values.mean()
    residuals = (sums.mean(axis=(0, 1)) - mean * counts) / counts.mean()
    levels = (residuals, values.mean(axis=(1, 2)), values.mean(axis=(0, 2)))
    return [(float(level.var(ddof=1)) / len(level), len(level) - 1) for level in levels if len(level) > 1]


def _freedom(spread: Sequence[tuple[float, int]]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of variances."""
    total = sum(variance for variance, _ in spread)
    if total <= 0:
        return float("inf")
    return total**2 / sum(variance**2 / freedom for variance, freedom in spread)
