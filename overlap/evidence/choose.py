"""Which landmarks need evidence, and which pairs show it best."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from overlap.base.tables import ANSWERS

_ASKED = ("evaluation_set", "query_id", "image_id", "landmark_id")
_FOUND = ("n_matches", "n_inliers", "score", "status", "geometry")


@dataclass(frozen=True)
class PairEvidence:
    """Hold what is known of one query and one photo.

    Args:
        state: one of STATES; None for a pair that nobody was to be asked about.
        answers: reviewers by answer, never by name.
        verified: n_matches, n_inliers, score, status, geometry; empty where it was verified elsewhere.
    """

    evaluation_set: str
    query_id: str
    image_id: str
    state: str | None
    answers: Mapping[str, int] = field(default_factory=dict)
    verified: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LandmarkEvidence:
    """Hold what is known of one landmark.

    Args:
        reason: why it went, or why it stayed; ``beaten`` names the landmarks that have more confirmed photos of some
            queries, with these.
        pairs: the best ones; ``n_pairs`` counts all.
        answers: reviewers by answer to the landmark as a whole.
    """

    landmark_id: int
    name: str
    removed: bool
    reason: str
    n_images: int
    pairs: tuple[PairEvidence, ...]
    n_pairs: int
    beaten: tuple[Mapping[str, Any], ...] = ()
    answers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Decided:
    """Hold the tables that evidence is taken from.

    Args:
        items: DECISIONS.
        landmarks: OUTCOMES.
        votes: VOTES that count.
        believed: VERIFIED rows at or above the score from which people are asked.
    """

    items: pa.Table
    landmarks: pa.Table
    votes: pa.Table
    believed: pa.Table


def choose_evidence(decided: Decided, *, n_pairs: int) -> list[LandmarkEvidence]:
    """Return every removed landmark, then every suspicious one that stays, each with its best pairs.

    Suspicious is a landmark with a pair that was verified well enough to ask people, or that is confirmed.
    Within the removed and the kept, those with most confirmed pairs come first, then the highest score; a landmark's
    pairs go by the same order. Ties go by id.

    Args:
        n_pairs: how many pairs a landmark gets at most.
    """
    pairs, wholes = _gather(decided)
    outcomes = {row["landmark_id"]: row for row in decided.landmarks.to_pylist()}
    removed = {number for number, row in outcomes.items() if row["removed"]}
    suspicious = {number for number in pairs if any(_is_suspicious(pair) for pair in pairs[number])}
    numbers = sorted(
        (removed | suspicious) & outcomes.keys(), key=lambda n: (n not in removed, *_worth(pairs.get(n, [])), n)
    )
    return [_landmark(outcomes[number], pairs.get(number, []), wholes, n_pairs=n_pairs) for number in numbers]


def _landmark(
    outcome: Mapping[str, Any], pairs: list[PairEvidence], wholes: Mapping[int, Mapping[str, int]], *, n_pairs: int
) -> LandmarkEvidence:
    return LandmarkEvidence(
        landmark_id=outcome["landmark_id"],
        name=outcome["landmark_name"],
        removed=outcome["removed"],
        reason=outcome["reason"],
        n_images=outcome["n_images"],
        pairs=tuple(sorted(pairs, key=_rank)[:n_pairs]),
        n_pairs=len(pairs),
        beaten=tuple(outcome["beaten"]),
        answers=wholes.get(outcome["landmark_id"], {}),
    )


def _gather(decided: Decided) -> tuple[dict[int, list[PairEvidence]], dict[int, dict[str, int]]]:
    """Return pairs by landmark, and the answers to landmarks as a whole."""
    verified = {_key(row): {name: row[name] for name in _FOUND} for row in decided.believed.to_pylist()}
    answers = _answers(decided.votes)
    asked: dict[tuple[Any, ...], tuple[str, str | None]] = dict.fromkeys(verified, ("", None))
    wholes: dict[int, dict[str, int]] = {}
    for row in decided.items.to_pylist():
        if row["query_id"] is not None and row["image_id"] is not None:
            asked[_key(row)] = row["item_id"], row["state"]
        elif answers.get(row["item_id"]):
            wholes[row["landmark_id"]] = answers[row["item_id"]]
    pairs: dict[int, list[PairEvidence]] = defaultdict(list)
    for key, (item, state) in asked.items():
        evaluation_set, query_id, image_id, landmark_id = key
        said, found = answers.get(item, {}), verified.get(key, {})
        pairs[landmark_id].append(PairEvidence(evaluation_set, query_id, image_id, state, said, found))
    return dict(pairs), wholes


def _answers(votes: pa.Table) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for item, answer in zip(votes["item_id"].to_pylist(), votes["answer"].to_pylist(), strict=True):
        counted[item][answer] += 1
    return {item: {name: said[name] for name in ANSWERS if said[name]} for item, said in counted.items()}


def _is_suspicious(pair: PairEvidence) -> bool:
    return _is_confirmed(pair) or bool(pair.verified)


def _is_confirmed(pair: PairEvidence) -> bool:
    return pair.state == "confirmed"


def _worth(pairs: list[PairEvidence]) -> tuple[int, float]:
    return -sum(map(_is_confirmed, pairs)), -max((_score(pair) for pair in pairs), default=0.0)


def _rank(pair: PairEvidence) -> tuple[bool, float, str, str, str]:
    return not _is_confirmed(pair), -_score(pair), pair.evaluation_set, pair.query_id, pair.image_id


def _score(pair: PairEvidence) -> float:
    return float(pair.verified.get("score") or 0.0)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _ASKED)
