"""From descriptors and ground truth to the tables SCORES and QUERY_SCORES."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from overlap.base.errors import DataError
from overlap.base.tables import QUERY_SCORES, SCORES, Descriptors, as_table
from overlap.study.evaluation.protocol import (
    CUTOFFS,
    REVISITED,
    IndexArray,
    QueryScore,
    Truth,
    check_truth,
    score_places,
    score_ranking,
)
from overlap.study.evaluation.ranking import find_places

ByProtocol: TypeAlias = dict[str, list[QueryScore]]


@dataclass(frozen=True)
class Subject:
    """Name what is evaluated, on what; these stand in every row.

    Args:
        network: the network, or the file of descriptors.
        evaluation_set: with ``+R1M`` or the like where distractors were added.
        training_set: None where it isn't known.
        seed: of the training; None where it isn't known.
    """

    network: str
    evaluation_set: str
    training_set: str | None = None
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Hold SCORES, one row a protocol, and QUERY_SCORES, one row a protocol and query; figures are in [0, 1]."""

    scores: pa.Table
    query_scores: pa.Table


def evaluate_descriptors(
    queries: Descriptors,
    database: Descriptors,
    truths: Sequence[Truth],
    *,
    subject: Subject,
    protocols: Sequence[str] = REVISITED,
    distractors: Iterable[Descriptors] = (),
) -> Evaluation:
    """Rank the database for every query by inner product and score it.

    Args:
        queries: Q queries, described from their crops.
        database: N photos in the ground truth's order.
        truths: a value a query, in the queries' order.
        protocols: of PROTOCOLS; ``CLASSIC`` for Oxford5k and Paris6k.
        distractors: shards of photos that show no landmark of the set, read one block at a time.

    Returns:
        A protocol without any positive photo has 0 queries and no figures.

    Raises:
        DataError: the queries and truths differ in number, the ground truth names a photo that isn't described, or
            descriptors are unusable (see ``find_places``).
    """
    _check_number(len(queries.image_ids), truths)
    for truth in truths:
        check_truth(truth, len(database.image_ids))
    judged = [np.unique(np.concatenate([truth.easy, truth.hard, truth.junk]).astype(np.int64)) for truth in truths]
    places = find_places(queries, database, judged, distractors=distractors)
    found = {
        protocol: [
            _score(truth, protocol, rows, each) for truth, rows, each in zip(truths, judged, places, strict=True)
        ]
        for protocol in protocols
    }
    return as_evaluation(found, queries.image_ids, subject=subject)


def evaluate_rankings(
    rankings: Sequence[IndexArray],
    truths: Sequence[Truth],
    *,
    query_ids: Sequence[str],
    n_photos: int,
    subject: Subject,
    protocols: Sequence[str] = REVISITED,
) -> Evaluation:
    """Score rankings that were made elsewhere, one a query; see ``score_ranking`` for what they must hold.

    Raises:
        DataError: the queries, rankings and truths differ in number, or a ranking isn't complete.
    """
    _check_number(len(query_ids), truths)
    _check_number(len(query_ids), rankings)
    found = {
        protocol: [
            score_ranking(ranking, truth, protocol=protocol, n_photos=n_photos)
            for ranking, truth in zip(rankings, truths, strict=True)
        ]
        for protocol in protocols
    }
    return as_evaluation(found, query_ids, subject=subject)


def as_evaluation(found: ByProtocol, query_ids: Sequence[str], *, subject: Subject) -> Evaluation:
    """Build the tables from the queries' scores by protocol."""
    shared = asdict(subject)
    scores = [{**shared, "protocol": protocol, **_average(each)} for protocol, each in found.items()]
    query_scores = [
        {**shared, "protocol": protocol, "query_id": query_id, "ap": score.ap, **_precisions(score.precision)}
        for protocol, each in found.items()
        for query_id, score in zip(query_ids, each, strict=True)
    ]
    return Evaluation(as_table(scores, SCORES), as_table(query_scores, QUERY_SCORES))


def _score(truth: Truth, protocol: str, judged: IndexArray, places: IndexArray) -> QueryScore:
    return score_places(truth, protocol=protocol, place_of=lambda rows: places[np.searchsorted(judged, rows)])


def _average(scores: Sequence[QueryScore]) -> dict[str, float | int | None]:
    """Average over the queries that have positives; none leaves no figures."""
    counted = [score for score in scores if score.ap is not None]
    if not counted:
        return {"n_queries": 0, "map": None, **_precisions((None,) * len(CUTOFFS))}
    columns = np.array([(score.ap, *score.precision) for score in counted], dtype=np.float64)
    average = [float(value) for value in columns.mean(axis=0)]
    return {"n_queries": len(counted), "map": average[0], **_precisions(average[1:])}


def _precisions(values: Sequence[float | None]) -> dict[str, float | None]:
    return {f"mp_at_{cutoff}": value for cutoff, value in zip(CUTOFFS, values, strict=True)}


def _check_number(n_queries: int, others: Sequence[object]) -> None:
    if n_queries != len(others):
        raise DataError(
            f"{n_queries} queries, but ground truth or rankings of {len(others)}; give one a query, in the same order"
        )
