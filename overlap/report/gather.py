"""From the tables to what the page shows: landmarks with their galleries, scores by what people said, counts.

What is confirmed, and what goes and why, is read from DECISIONS and OUTCOMES. A landmark with confirmed or well
verified pairs that stays is shown as suspicious.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.tables import ANSWERS, STATUSES, WHOLE_ORIGINS
from overlap.report.charts import ScoreSplit
from overlap.report.page import Beaten, LandmarkView, PairGallery, PairView, QuarantinedPhoto

Pair: TypeAlias = tuple[str, str | None, str | None]
Views: TypeAlias = list[tuple[Pair, PairView]]
_PAIR_COLUMNS = ("evaluation_set", "query_id", "image_id")


@dataclass(frozen=True)
class Limits:
    """Bound what the page shows of each kind; the page says how many there are."""

    galleries_per_landmark: int = 4
    photos_per_gallery: int = 8
    kept_landmarks: int = 30
    quarantined: int = 100


@dataclass(frozen=True)
class Evidence:
    """Hold the tables that the landmarks of a page are gathered from.

    Args:
        items: DECISIONS.
        landmarks: OUTCOMES.
        votes: VOTES that count, that is without those that a later one supersedes.
        verified: VERIFIED.
        threshold: the score from which a verified pair counts as found.
        photos: photos by landmark, for landmarks that were removed by their name and have no pair to show.
    """

    items: pa.Table
    landmarks: pa.Table
    votes: pa.Table
    verified: pa.Table
    threshold: float
    photos: Mapping[int, Sequence[str]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Landmarks:
    """Hold the landmarks of the page; ``n_kept`` counts suspicious ones that found no room in ``kept`` too."""

    removed: tuple[LandmarkView, ...]
    kept: tuple[LandmarkView, ...]
    n_kept: int
    text: tuple[LandmarkView, ...]
    proposed: tuple[LandmarkView, ...] = ()


def gather_landmarks(evidence: Evidence) -> Landmarks:
    """Gather removed landmarks, suspicious ones that stay, and text candidates.

    Returns:
        Removed landmarks with most photos first; kept ones with most confirmed pairs, then highest score first; text
        candidates, removed first, then with most photos. Ties go by landmark_id. Within a landmark, queries with most
        confirmed photos come first; within a query, confirmed photos, then the highest score.
    """
    answers = _answers_by_item(evidence.votes)
    pairs = _pairs_by_landmark(evidence, answers)
    outcomes = {row["landmark_id"]: row for row in evidence.landmarks.to_pylist()}
    removals = sorted(
        (row for row in outcomes.values() if row["removed"]), key=lambda row: (-row["n_images"], row["landmark_id"])
    )
    wholes = _judged_whole(evidence.items, answers, outcomes)
    candidates = {view.landmark_id: view.answers for view in wholes}
    kept = sorted(
        (i for i in pairs if not outcomes[i]["removed"] and _is_suspicious(pairs[i], evidence.threshold)),
        key=_worst(pairs),
    )
    names = {landmark_id: row["landmark_name"] for landmark_id, row in outcomes.items()}
    return Landmarks(
        removed=tuple(_removed(row, pairs, candidates, evidence) for row in removals),
        kept=tuple(
            _kept(outcomes[i], pairs[i], names, evidence.limits) for i in kept[: evidence.limits.kept_landmarks]
        ),
        n_kept=len(kept),
        text=tuple(view for view in wholes if view.origin not in ("closure", "audit")),
        proposed=tuple(view for view in wholes if view.origin == "closure"),
    )


def split_scores(verified: pa.Table, items: pa.Table, *, threshold: float | None) -> ScoreSplit:
    """Split the scores of verified pairs with status ok into confirmed, rejected, and undecided or never queued.

    Args:
        verified: VERIFIED.
        items: DECISIONS.
    """
    states = {_pair(row): row["state"] for row in items.select([*_PAIR_COLUMNS, "state"]).to_pylist()}
    groups: dict[str, list[float]] = {"confirmed": [], "rejected": [], "undecided": []}
    for row in verified.filter(pc.equal(verified["status"], "ok")).select([*_PAIR_COLUMNS, "score"]).to_pylist():
        state = states.get(_pair(row))
        groups[state if state in ("confirmed", "rejected") else "undecided"].append(row["score"])
    return ScoreSplit(**{kind: tuple(scores) for kind, scores in groups.items()}, threshold=threshold)


def count_statuses(verified: pa.Table) -> dict[str, int]:
    """Count pairs by status, in the order of STATUSES; empty without pairs."""
    return _counted(verified["status"], STATUSES)


def count_answers(votes: pa.Table) -> dict[str, int]:
    """Count votes by answer, in the order of ANSWERS; empty without votes."""
    return _counted(votes["answer"], ANSWERS)


def first_quarantined(quarantine: pa.Table, limits: Limits = Limits()) -> tuple[QuarantinedPhoto, ...]:
    """Take the first photos of a QUARANTINE table."""
    return tuple(QuarantinedPhoto(**row) for row in quarantine.slice(0, limits.quarantined).to_pylist())


def _counted(column: pa.ChunkedArray, order: tuple[str, ...]) -> dict[str, int]:
    found = Counter(column.to_pylist())
    return {name: found[name] for name in order} if found else {}


def _answers_by_item(votes: pa.Table) -> dict[str, Counter[str]]:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for row in votes.select(["item_id", "answer"]).to_pylist():
        answers[row["item_id"]][row["answer"]] += 1
    return dict(answers)


def _pairs_by_landmark(evidence: Evidence, answers: Mapping[str, Counter[str]]) -> dict[int, Views]:
    """Return every pair that was queued for review, with its verification and its answers."""
    checks = _verified_of(evidence)
    pairs: dict[int, Views] = defaultdict(list)
    for row in evidence.items.to_pylist():
        if row["query_id"] is None or row["image_id"] is None:
            continue
        said = answers.get(row["item_id"], Counter())
        check = checks.get(_pair(row), {})
        view = PairView(
            image_id=row["image_id"],
            score=check.get("score", row["score"]),
            n_inliers=check.get("n_inliers"),
            n_matches=check.get("n_matches"),
            answers=dict(said),
            state=row["state"],
        )
        pairs[row["landmark_id"]].append((_pair(row), view))
    return dict(pairs)


def _verified_of(evidence: Evidence) -> dict[Pair, dict[str, Any]]:
    """Return the verification of the queued pairs; a run may have verified a hundred times as many."""
    landmarks = pc.unique(evidence.items["landmark_id"])
    rows = evidence.verified.filter(pc.is_in(evidence.verified["landmark_id"], value_set=landmarks))
    columns = [*_PAIR_COLUMNS, "score", "n_inliers", "n_matches"]
    return {_pair(row): row for row in rows.select(columns).to_pylist()}


def _judged_whole(
    items: pa.Table, answers: Mapping[str, Counter[str]], outcomes: Mapping[int, Mapping[str, Any]]
) -> tuple[LandmarkView, ...]:
    views = [
        LandmarkView(
            landmark_id=row["landmark_id"],
            name=outcomes[row["landmark_id"]]["landmark_name"],
            evaluation_set="",
            origin=row["origin"],
            n_images=outcomes[row["landmark_id"]]["n_images"],
            reason="",
            state=row["state"],
            answers=dict(answers.get(row["item_id"], {})),
            removed=outcomes[row["landmark_id"]]["removed"],
        )
        for row in items.to_pylist()
        if row["query_id"] is None
    ]
    return tuple(sorted(views, key=lambda view: (not view.removed, -view.n_images, view.landmark_id)))


def _removed(
    row: Mapping[str, Any],
    pairs: Mapping[int, Views],
    candidates: Mapping[int, Mapping[str, int]],
    evidence: Evidence,
) -> LandmarkView:
    whole = row["origin"] in WHOLE_ORIGINS
    galleries = _galleries(pairs.get(row["landmark_id"], []), evidence.limits)
    if whole and not galleries:
        galleries = _album(evidence.photos.get(row["landmark_id"], ()), evidence.limits)
    return LandmarkView(
        landmark_id=row["landmark_id"],
        name=row["landmark_name"],
        evaluation_set=row["evaluation_set"],
        origin=row["origin"],
        n_images=row["n_images"],
        reason=_sentence(row["reason"]),
        galleries=galleries[: evidence.limits.galleries_per_landmark],
        n_galleries=len(galleries),
        answers=candidates.get(row["landmark_id"], {}) if whole else {},
        removed=True,
    )


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _kept(row: Mapping[str, Any], pairs: Views, names: Mapping[int, str], limits: Limits) -> LandmarkView:
    galleries = _galleries(pairs, limits)
    return LandmarkView(
        landmark_id=row["landmark_id"],
        name=row["landmark_name"],
        evaluation_set=", ".join(sorted({pair[0] for pair, _ in pairs})),
        origin="global",
        n_images=row["n_images"],
        reason=_sentence(row["reason"]),
        galleries=galleries[: limits.galleries_per_landmark],
        n_galleries=len(galleries),
        beaten=tuple(
            Beaten(each["evaluation_set"], each["query_id"], each["landmark_id"], names[each["landmark_id"]])
            for each in row["beaten"]
        ),
    )


def _is_suspicious(pairs: Views, threshold: float) -> bool:
    return any(_is_confirmed(view) or (view.score is not None and view.score >= threshold) for _, view in pairs)


def _worst(pairs: Mapping[int, Views]) -> Callable[[int], tuple[int, float, int]]:
    def key(landmark_id: int) -> tuple[int, float, int]:
        views = [view for _, view in pairs[landmark_id]]
        return (-_n_confirmed(views), -max(view.score or 0 for view in views), landmark_id)

    return key


def _galleries(pairs: Views, limits: Limits) -> tuple[PairGallery, ...]:
    """Return one gallery a query, best first, each with its best pairs."""
    groups: dict[tuple[str, str | None], list[PairView]] = defaultdict(list)
    for (evaluation_set, query_id, _), view in pairs:
        groups[evaluation_set, query_id].append(view)
    ranked = sorted(groups, key=lambda group: (-_n_confirmed(groups[group]), -_best(groups[group]), str(group)))
    return tuple(
        PairGallery(*group, tuple(sorted(groups[group], key=_rank)[: limits.photos_per_gallery]), len(groups[group]))
        for group in ranked
    )


def _album(photos: Sequence[str], limits: Limits) -> tuple[PairGallery, ...]:
    """Return the photos of a landmark without a query, or nothing."""
    shown = tuple(PairView(image_id, state="confirmed") for image_id in photos[: limits.photos_per_gallery])
    return (PairGallery("", None, shown, len(photos)),) if shown else ()


def _rank(view: PairView) -> tuple[bool, float, str]:
    return (not _is_confirmed(view), -(view.score or 0), view.image_id)


def _is_confirmed(view: PairView) -> bool:
    return view.state == "confirmed"


def _n_confirmed(views: list[PairView]) -> int:
    return sum(map(_is_confirmed, views))


def _best(views: list[PairView]) -> float:
    return max(view.score or 0 for view in views)


def _pair(row: Mapping[str, Any]) -> Pair:
    return row["evaluation_set"], row["query_id"], row["image_id"]
