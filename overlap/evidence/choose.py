"""Which landmarks need evidence, and which pairs show it best."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.tables import ANSWERS, CONFIRMING, REMOVALS

_ASKED = ("evaluation_set", "query_id", "image_id", "landmark_id")
_FOUND = ("n_matches", "n_inliers", "score", "status", "geometry")


@dataclass(frozen=True)
class PairEvidence:
    """Hold what is known of one query and one photo.

    Args:
        confirmed: a removal rests on it, or a reviewer confirmed it.
        answers: reviewers by answer, never by name.
        verified: n_matches, n_inliers, score, status, geometry; empty where it was verified elsewhere.
    """

    evaluation_set: str
    query_id: str
    image_id: str
    confirmed: bool
    answers: Mapping[str, int] = field(default_factory=dict)
    verified: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LandmarkEvidence:
    """Hold what is known of one landmark.

    Args:
        reason: why it went, or why it stayed.
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
    answers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Decided:
    """Hold the tables that evidence is taken from.

    Args:
        removals: REMOVALS, and ``reasons`` by landmark_id.
        items: REVIEW_ITEMS.
        votes: VOTES that count.
        believed: VERIFIED rows at or above the score from which people are asked.
        landmarks: LANDMARKS.
    """

    removals: pa.Table
    reasons: Mapping[int, str]
    items: pa.Table
    votes: pa.Table
    believed: pa.Table
    landmarks: pa.Table


def choose_evidence(decided: Decided, *, n_pairs: int) -> list[LandmarkEvidence]:
    """Return every removed landmark, then every suspicious one that stays, each with its best pairs.

    Suspicious is a landmark with a pair that was verified well enough to ask people, or that a reviewer confirmed.
    Within the removed and the kept, those with most confirmed pairs come first, then the highest score; a landmark's
    pairs go by the same order. Ties go by id.

    Args:
        n_pairs: how many pairs a landmark gets at most.
    """
    pairs, wholes = _gather(decided)
    removed = set(decided.removals["landmark_id"].to_pylist())
    known = _known(decided.landmarks, removed | pairs.keys())
    suspicious = [number for number in pairs if any(_is_suspicious(pair) for pair in pairs[number])]
    numbers = sorted(removed | set(suspicious), key=lambda n: (n not in removed, *_worth(pairs.get(n, [])), n))
    return [
        LandmarkEvidence(
            landmark_id=number,
            name=known.get(number, ("", 0))[0],
            removed=number in removed,
            reason=decided.reasons.get(number, "") if number in removed else _why_kept(pairs[number]),
            n_images=known.get(number, ("", 0))[1],
            pairs=tuple(sorted(pairs.get(number, []), key=_rank)[:n_pairs]),
            n_pairs=len(pairs.get(number, [])),
            answers=wholes.get(number, {}),
        )
        for number in numbers
    ]


def _gather(decided: Decided) -> tuple[dict[int, list[PairEvidence]], dict[int, dict[str, int]]]:
    """Return pairs by landmark, and the answers to landmarks as a whole."""
    verified = {_key(row): {name: row[name] for name in _FOUND} for row in decided.believed.to_pylist()}
    answers = _answers(decided.votes)
    proofs = set(pc.list_flatten(decided.removals["evidence"]).to_pylist())
    asked: dict[tuple[Any, ...], str] = dict.fromkeys(verified, "")
    wholes: dict[int, dict[str, int]] = {}
    for row in decided.items.to_pylist():
        if row["query_id"] is not None and row["image_id"] is not None:
            asked[_key(row)] = row["item_id"]
        elif answers.get(row["item_id"]):
            wholes[row["landmark_id"]] = answers[row["item_id"]]
    pairs: dict[int, list[PairEvidence]] = defaultdict(list)
    for key, item in asked.items():
        evaluation_set, query_id, image_id, landmark_id = key
        said = answers.get(item, {})
        confirmed = item in proofs or bool(CONFIRMING & said.keys())
        found = verified.get(key, {})
        pairs[landmark_id].append(PairEvidence(evaluation_set, query_id, image_id, confirmed, said, found))
    return dict(pairs), wholes


def _answers(votes: pa.Table) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for item, answer in zip(votes["item_id"].to_pylist(), votes["answer"].to_pylist(), strict=True):
        counted[item][answer] += 1
    return {item: {name: said[name] for name in ANSWERS if said[name]} for item, said in counted.items()}


def _known(landmarks: pa.Table, wanted: set[int]) -> dict[int, tuple[str, int]]:
    numbers = pa.array(sorted(wanted), REMOVALS.field("landmark_id").type)
    rows = landmarks.filter(pc.is_in(landmarks["landmark_id"], value_set=numbers)).to_pylist()
    return {row["landmark_id"]: (row["landmark_name"], row["n_images"]) for row in rows}


def _is_suspicious(pair: PairEvidence) -> bool:
    return pair.confirmed or bool(pair.verified)


def _why_kept(pairs: list[PairEvidence]) -> str:
    if any(pair.confirmed for pair in pairs):
        return "a reviewer confirmed a pair, but the policy keeps the landmark"
    if any(pair.answers for pair in pairs):
        return "verified by geometry, but no reviewer confirmed it"
    return "verified by geometry, and nobody voted on it"


def _worth(pairs: list[PairEvidence]) -> tuple[int, float]:
    return -sum(pair.confirmed for pair in pairs), -max((_score(pair) for pair in pairs), default=0.0)


def _rank(pair: PairEvidence) -> tuple[bool, float, str, str, str]:
    return not pair.confirmed, -_score(pair), pair.evaluation_set, pair.query_id, pair.image_id


def _score(pair: PairEvidence) -> float:
    return float(pair.verified.get("score") or 0.0)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in _ASKED)
