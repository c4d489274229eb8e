"""Kept landmarks to audit strata: which of them are judged beside all evaluation landmarks.

The strata go by how far a landmark came in the search: ``top``, the landmarks with the best scores, judged whole;
``below``, the others that search brought up; ``random``, those that it never did. Known overlapping landmarks, the
``check`` ones, are judged among them, so that the reviewers' sensitivity is measured on the same question. The known
ones with the lowest scores are taken, since those that were missed resemble them most.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.audit.bound import Stratum
from overlap.base.config import AuditConfig
from overlap.base.errors import ReviewError
from overlap.base.tables import AUDITED, CANDIDATES, LANDMARKS, REMOVALS, VERIFIED, as_table, checked

STRATA = ("top", "below", "random")
CHECK = "check"


@dataclass(frozen=True)
class Seen:
    """Say how far each landmark came: its best score, then its best similarity; landmarks never found are absent."""

    best: Mapping[int, tuple[float, float]]


def rank_landmarks(candidates: pa.Table, verified: pa.Table) -> Seen:
    """Return the best score and similarity of every landmark that search brought up.

    Args:
        candidates: CANDIDATES; those by name alone do not count, and hashes have no similarity that compares.
        verified: VERIFIED.
    """
    pairs = checked(candidates, CANDIDATES)
    pairs = pairs.filter(pc.is_valid(pairs["image_id"]))
    similar = _best(pairs.filter(pc.not_equal(pairs["origin"], "copy")), "similarity")
    scores = _best(checked(verified, VERIFIED), "score")
    return Seen({each: (scores.get(each, 0.0), similar.get(each, -1.0)) for each in {*similar, *scores}})


def draw_audit(
    landmarks: pa.Table,
    removals: pa.Table,
    seen: Seen,
    *,
    settings: AuditConfig,
    asked_already: Collection[int] = (),
) -> pa.Table:
    """Draw what the audit judges.

    Args:
        landmarks: LANDMARKS.
        removals: REMOVALS of people's votes; they are not audited, but those with confirmed photos are the checks.
        asked_already: landmarks that were judged as a whole before; they are no checks, since nobody may ask again.

    Returns:
        AUDITED: every kept landmark with its stratum and whether it is drawn, then the checks; by landmark_id.
    """
    gone = checked(removals, REMOVALS)
    removed = set(gone["landmark_id"].to_pylist())
    kept = [each for each in checked(landmarks, LANDMARKS)["landmark_id"].to_pylist() if each not in removed]
    strata = _stratify(kept, seen, n_top=settings.whole)
    rng = np.random.default_rng(settings.seed)
    drawn = set(strata["top"])
    for name, number in (("below", settings.below), ("random", settings.random)):
        members = sorted(strata[name])
        drawn |= {members[place] for place in rng.permutation(len(members))[:number].tolist()}
    rows = [_row(each, name, each in drawn) for name, members in strata.items() for each in members]
    checks = [_row(each, CHECK, True) for each in _choose_checks(gone, seen, set(asked_already), n=settings.checks)]
    return as_table([*rows, *checks], AUDITED).sort_by("landmark_id")


def count_strata(audited: pa.Table, verdicts: Mapping[int, bool | None]) -> tuple[list[Stratum], int, int]:
    """Count what the reviewers said.

    Args:
        audited: AUDITED.
        verdicts: by landmark_id, whether the reviewers took it for a landmark of an evaluation set; None when they are
            not through with it.

    Returns:
        The strata, then how many checks were recognised, and how many there are.

    Raises:
        ReviewError: not everything is judged.
    """
    rows = checked(audited, AUDITED).to_pylist()
    said = {row["landmark_id"]: verdicts.get(row["landmark_id"]) for row in rows if row["drawn"]}
    n_open = sum(verdict is None for verdict in said.values())
    if n_open:
        raise ReviewError(
            f"{n_open} of {len(said)} audited landmarks are not judged yet: let the reviewers answer them, then run "
            "'overlap audit report' again"
        )
    strata = []
    for name in STRATA:
        members = [row["landmark_id"] for row in rows if row["stratum"] == name]
        judged = [each for each in members if each in said]
        strata.append(Stratum(name, len(members), len(judged), sum(bool(said[each]) for each in judged)))
    checks = [said[row["landmark_id"]] for row in rows if row["stratum"] == CHECK]
    return strata, sum(map(bool, checks)), len(checks)


def _best(table: pa.Table, column: str) -> dict[int, float]:
    best = table.group_by("landmark_id").aggregate([(column, "max")])
    return dict(zip(best["landmark_id"].to_pylist(), best[f"{column}_max"].to_pylist(), strict=True))


def _stratify(kept: list[int], seen: Seen, *, n_top: int) -> dict[str, list[int]]:
    found = sorted(
        (each for each in kept if each in seen.best), key=lambda each: (*(-x for x in seen.best[each]), each)
    )
    never = [each for each in kept if each not in seen.best]
    return {"top": found[:n_top], "below": found[n_top:], "random": never}


def _choose_checks(removals: pa.Table, seen: Seen, asked: set[int], *, n: int) -> list[int]:
    """Return landmarks with confirmed photos, those with the lowest scores first."""
    known = [
        row["landmark_id"] for row in removals.to_pylist() if row["n_confirmed"] and row["landmark_id"] not in asked
    ]
    return sorted(known, key=lambda each: (seen.best.get(each, (0.0, -1.0)), each))[:n]


def _row(landmark_id: int, stratum: str, drawn: bool) -> dict[str, object]:
    return {"landmark_id": landmark_id, "stratum": stratum, "drawn": drawn}
