"""The effect of an overlap on a method's scores: paired by query and seed, with a placebo beside it.

A version without the overlapping landmarks is smaller, too, so that its loss alone proves nothing. A placebo version
lost as many random landmarks of like size. The effect is what the overlap gives beyond that:

    effect = (full - clean) - (full - placebo)

on queries whose landmark the removal took, and on the others, where it should be nothing. The full version cancels out
of it; both of its terms are given, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.base.errors import DataError
from overlap.base.tables import CHANGES, EFFECTS, as_table
from overlap.study.evaluation.resampling import (
    RESAMPLES,
    Estimate,
    GroupArray,
    Values,
    estimate_difference,
    estimate_mean,
)

OVERLAPPING, OTHER, DIFFERENCE = "overlapping", "other", "overlapping - other"
FULL, CLEAN = "full", "clean"


@dataclass(frozen=True, eq=False)
class PairedScores:
    """Hold the average precision of one method for the same queries and seeds, trained on each version.

    Args:
        queries: the evaluation set and id of each query.
        full: (S, Q), trained on the whole set.
        clean: (S, Q), trained without the overlapping landmarks.
        placebos: (S, K, Q), trained without other landmarks, in K draws; K may be 0.
        groups: (Q,) the landmark of each query: queries with the same number share positive photos.
        overlapping: (Q,) whether the removal took the query's landmark.
    """

    queries: tuple[tuple[str, str], ...]
    full: Values
    clean: Values
    placebos: Values
    groups: GroupArray
    overlapping: NDArray[np.bool_]


def estimate_effects(
    scores: PairedScores, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[tuple[str, str], Estimate]:
    """Estimate what removing the overlap changes, by contrast and kind of query.

    Contrasts: ``full - clean``; with placebos also ``full - placebo`` and ``effect``. Kinds: OVERLAPPING, OTHER, and
    DIFFERENCE of the two; a kind without queries is left out.
    """
    rng = np.random.default_rng(seed)
    found = {}
    for contrast, values in _contrasts(scores).items():
        parts = {
            kind: (values[:, :, rows], scores.groups[rows])
            for kind, rows in ((OVERLAPPING, scores.overlapping), (OTHER, ~scores.overlapping))
            if rows.any()
        }
        for kind, part in parts.items():
            found[contrast, kind] = estimate_mean(*part, rng=rng, resamples=resamples)
        if len(parts) == 2:
            found[contrast, DIFFERENCE] = estimate_difference(
                parts[OVERLAPPING], parts[OTHER], rng=rng, resamples=resamples
            )
    return found


def effects_table(
    methods: Mapping[str, PairedScores], *, protocol: str, seed: int = 0, versions: tuple[str, str] = (FULL, CLEAN)
) -> pa.Table:
    """Estimate the effects of every method (EFFECTS).

    Args:
        versions: the names of the two that are compared.
    """
    rows = []
    for network, scores in methods.items():
        for (contrast, kind), estimate in estimate_effects(scores, seed=seed).items():
            members = _members(scores, kind)
            rows.append(
                {
                    "network": network,
                    "protocol": protocol,
                    "contrast": contrast.replace("full - clean", " - ".join(versions)),
                    "queries": kind,
                    "n_queries": int(members.sum()),
                    "n_landmarks": len(np.unique(scores.groups[members])),
                    "n_seeds": scores.full.shape[0],
                    "n_placebos": scores.placebos.shape[1],
                    **vars(estimate),
                }
            )
    return as_table(rows, EFFECTS)


def changes_table(methods: Mapping[str, PairedScores], *, protocol: str) -> pa.Table:
    """List every query's average precision on each version, averaged over seeds and placebo draws (CHANGES)."""
    rows: list[dict[str, object]] = []
    for network, scores in methods.items():
        placebo = (
            scores.placebos.mean(axis=(0, 1)).tolist() if scores.placebos.shape[1] else [None] * len(scores.groups)
        )
        columns = (scores.groups, scores.overlapping, scores.full.mean(axis=0), scores.clean.mean(axis=0))
        for query, *values in zip(scores.queries, *(column.tolist() for column in columns), placebo, strict=True):
            named = zip(("landmark", "overlapping", "full", "clean", "placebo"), values, strict=True)
            about = {"network": network, "evaluation_set": query[0], "protocol": protocol, "query_id": query[1]}
            rows.append({**about, **dict(named)})
    return as_table(rows, CHANGES)


def pair_scores(
    query_scores: pa.Table,
    *,
    network: str,
    protocol: str,
    placebos: Sequence[str],
    groups: Mapping[tuple[str, str], int],
    overlapping: frozenset[tuple[str, str]],
    versions: tuple[str, str] = (FULL, CLEAN),
) -> PairedScores:
    """Arrange QUERY_SCORES of two versions and the named placebos.

    Args:
        groups: the landmark of each query, by evaluation set and query id; its order is kept. Queries without positive
            photos under the protocol are left out.
        overlapping: the queries whose landmark the removal took.
        versions: those that stand in for the full and the clean one.

    Raises:
        DataError: a version, seed or query is missing.
    """
    found = _by_version(query_scores, network, protocol)
    seeds = sorted({seed for _, seed, *_ in found})
    first, second = versions
    queries = [query for query in groups if found.get((first, seeds[0], *query)) is not None] if seeds else []
    if not queries:
        raise DataError(f"there are no scores of {network} under the protocol {protocol!r} on the version {first!r}")

    def rows(version: str) -> Values:
        return np.array([[_score(found, (version, seed, *query), network) for query in queries] for seed in seeds])

    return PairedScores(
        tuple(queries),
        rows(first),
        rows(second),
        np.stack([rows(name) for name in placebos], axis=1) if placebos else np.empty((len(seeds), 0, len(queries))),
        np.array([groups[query] for query in queries], dtype=np.int64),
        np.array([query in overlapping for query in queries], dtype=bool),
    )


def _contrasts(scores: PairedScores) -> Mapping[str, Values]:
    """Return (S, K, Q) differences by contrast."""
    found = {"full - clean": (scores.full - scores.clean)[:, np.newaxis]}
    if scores.placebos.shape[1]:
        found["full - placebo"] = scores.full[:, np.newaxis] - scores.placebos
        found["effect"] = scores.placebos - scores.clean[:, np.newaxis]
    return MappingProxyType(found)


def _members(scores: PairedScores, kind: str) -> NDArray[np.bool_]:
    return {OVERLAPPING: scores.overlapping, OTHER: ~scores.overlapping}.get(
        kind, np.ones(len(scores.groups), dtype=bool)
    )


def _by_version(query_scores: pa.Table, network: str, protocol: str) -> dict[tuple[str, int, str, str], float | None]:
    return {
        (row["training_set"], row["seed"], row["evaluation_set"], row["query_id"]): row["ap"]
        for row in query_scores.to_pylist()
        if row["network"] == network and row["protocol"] == protocol
    }


def _score(found: Mapping[tuple[str, int, str, str], float | None], key: tuple[str, int, str, str], name: str) -> float:
    score = found.get(key)
    if score is None:
        version, seed, evaluation_set, query_id = key
        raise DataError(
            f"{name} trained on {version!r} with seed {seed} has no score for query {query_id} of {evaluation_set}; "
            "every version needs the same seeds and queries: run 'overlap impact' again"
        )
    return score
