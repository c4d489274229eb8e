"""The audit of what was kept: drawn, put before the reviewers, and summed up to a bound."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.audit.bound import Bound, Stratum, bound_overlap
from overlap.audit.calibration import Calibration, Reliability, fit_chance, validate_chance
from overlap.audit.capture import Capture, estimate_missing
from overlap.audit.negatives import FalseMatches, measure_false_matches
from overlap.audit.sample import CHECK, count_strata, draw_audit, rank_landmarks
from overlap.base.config import Config, fingerprint
from overlap.base.errors import DataError
from overlap.base.sheets import read_rows
from overlap.base.store import read_table, write_json, write_table
from overlap.base.tables import AUDITED, FOUND, REVIEW_ITEMS, as_table
from overlap.decisions.items import believed
from overlap.decisions.policy import load_policy
from overlap.pipeline.closure import read_proposals
from overlap.pipeline.decisions import decide_by, decide_by_people, decide_removals, read_material
from overlap.pipeline.photos import read_photos
from overlap.pipeline.retrieve import PROBES, read_candidates
from overlap.pipeline.review import open_reviews
from overlap.pipeline.run import Run, find_current, hand_to, is_current, recorded
from overlap.pipeline.verify import read_verified
from overlap.review.ids import item_id
from overlap.review.queue import item
from overlap.verify.pairs import review_threshold_of, threshold_of


@dataclass(frozen=True)
class Audit:
    """Hold what the audit says; a part without its data is None.

    Args:
        judged: landmarks the reviewers were shown, checks among them.
    """

    policy: str
    strata: tuple[Stratum, ...]
    recognised: int
    checks: int
    bound: Bound
    judged: int
    capture: Capture
    false_matches: FalseMatches | None
    calibration: Calibration | None
    reliability: Reliability | None


def sample_audit(run: Run) -> pa.Table:
    """Draw kept landmarks, and known ones among them, and put them before the reviewers; return AUDITED.

    Raises:
        ReviewError: there is no vote yet.
    """
    run = hand_to("audit", run)
    config = run.config
    with recorded(run, "audit") as finish:
        removals = decide_removals(config)
        reviews = open_reviews(config)
        known = reviews.read_items()
        whole = set(known.filter(pc.is_null(known["query_id"]))["landmark_id"].to_pylist())
        seen = rank_landmarks(read_candidates(config), read_verified(config))
        audited = draw_audit(
            read_photos(config, "landmarks"), removals, seen, settings=config.audit, asked_already=whole
        )
        artefact = fingerprint("audit", config.policy, audited.to_pylist())
        if not run.store.exists("audit", artefact):
            with run.store.put("audit", artefact) as folder:
                write_table(folder, "audited", audited)
                write_json(folder, "policy", load_policy(config.policy.name).model_dump())
        drawn = audited.filter(audited["drawn"])["landmark_id"].to_pylist()
        rows = [item("", None, None, each, origin="audit", score=None) for each in drawn if each not in whole]
        reviews.add_items(as_table(rows, REVIEW_ITEMS))
        n_checks = pc.sum(pc.equal(audited["stratum"], CHECK)).as_py() or 0
        finish(artefact, kept=audited.num_rows - n_checks, drawn=len(drawn) - n_checks, checks=n_checks)
    return audited


def report_audit(run: Run) -> Audit:
    """Sum up what the reviewers said of the audited landmarks.

    Raises:
        ArtifactError: no audit was drawn with these settings.
        ReviewError: reviewers have not judged every landmark that was drawn.
    """
    run = hand_to("audited", run)
    config = run.config
    with recorded(run, "audited") as finish:
        audit = _sum_up(config)
        artefact = fingerprint("audited", asdict(audit))
        if not run.store.exists("audited", artefact):
            with run.store.put("audited", artefact) as folder:
                write_json(folder, "audit", asdict(audit))
        finish(artefact, judged=audit.judged, bound=audit.bound.remaining)
    return audit


def read_found(config: Config) -> pa.Table:
    """Return FOUND: which detector brought up which landmark.

    ``photos``: a pair that search found and that went to people; ``copies``: the same, found by its hash; ``names``: a
    configured word in its name; ``closure``: links or a name like that of a confirmed landmark.
    """
    candidates = read_candidates(config)
    threshold = review_threshold_of(config.verify, config.review.threshold)
    pairs = believed(read_verified(config), threshold=threshold)
    parts = {
        "photos": _found_by(PROBES, candidates, pairs),
        "copies": _found_by({"copy"}, candidates, pairs),
        "names": candidates.filter(pc.equal(candidates["origin"], "text")),
        "closure": read_proposals(config),
    }
    rows = [
        {"detector": name, "landmark_id": each}
        for name, table in parts.items()
        for each in sorted(set(table["landmark_id"].to_pylist()))
    ]
    return as_table(rows, FOUND)


def _found_by(origins: Collection[str], candidates: pa.Table, pairs: pa.Table) -> pa.Table:
    """Keep the ids of the pairs that are candidates of one of the origins."""
    ids = ["evaluation_set", "query_id", "image_id"]
    found = candidates.filter(pc.is_in(candidates["origin"], value_set=pa.array(sorted(origins)))).select(ids)
    return pairs.select([*ids, "landmark_id"]).join(found, keys=ids, join_type="left semi")


def _count_detectors(config: Config) -> int:
    """Return how many detectors were run, also those that found nothing."""
    return 1 + sum((config.search.copies > 0, bool(config.names.words), is_current(config, "closure")))


def _sum_up(config: Config) -> Audit:
    policy = load_policy(config.policy.name)
    audited = read_table(find_current(config, "audit"), "audited", AUDITED)
    material = read_material(config)
    judged = decide_by_people(config, material)
    strata, recognised, checks = count_strata(audited, _verdicts(judged, audited))
    removals = decide_by(config, policy, material).removals
    found, removed = read_found(config), removals["landmark_id"].to_pylist()
    scores, same, landmarks = _known_pairs(config, judged, controls=_read_controls(config))
    return Audit(
        policy=policy.name,
        strata=tuple(strata),
        recognised=recognised,
        checks=checks,
        bound=bound_overlap(strata, recognised=recognised, checks=checks),
        judged=sum(stratum.judged for stratum in strata) + checks,
        capture=estimate_missing(found, removed, detectors=_count_detectors(config)),
        false_matches=_false_matches(config, removals),
        calibration=fit_chance(scores, same) if _both(same) else None,
        reliability=_validated(scores, same, landmarks),
    )


_VERDICTS: Mapping[str, bool] = MappingProxyType({"confirmed": True, "rejected": False})


def _verdicts(judged: pa.Table, audited: pa.Table) -> dict[int, bool | None]:
    """Return by landmark what DECISIONS say of it as a whole; None where nothing is certain."""
    states = dict(zip(*(judged[name].to_pylist() for name in ("item_id", "state")), strict=True))
    drawn = audited.filter(audited["drawn"])["landmark_id"].to_pylist()
    return {landmark: _VERDICTS.get(states.get(item_id("", None, None, landmark), "")) for landmark in drawn}


def _read_controls(config: Config) -> set[int]:
    if config.audit.elsewhere is None:
        return set()
    path = config.audit.elsewhere
    known = set(map(str, read_photos(config, "landmarks")["landmark_id"].to_pylist()))
    controls = set()
    for line, (text,) in read_rows(path, ("landmark_id",)):
        if text not in known:
            raise DataError(f"{path} line {line}: landmark_id {text!r} is no landmark of the training set")
        controls.add(int(text))
    return controls


def _false_matches(config: Config, removals: pa.Table) -> FalseMatches | None:
    controls = _read_controls(config)
    if config.audit.elsewhere is None:
        return None
    best = {
        each: scores[0] for each, scores in rank_landmarks(read_candidates(config), read_verified(config)).best.items()
    }
    seen = removals.filter(pc.greater(removals["n_confirmed"], 0))["landmark_id"].to_pylist()
    return measure_false_matches(best, controls, seen, threshold=threshold_of(config.verify))


def _known_pairs(config: Config, judged: pa.Table, *, controls: set[int]) -> tuple[Any, Any, Any]:
    """Return scores, truth and landmark of the verified pairs that people decided, and of those of controls."""
    columns = ("evaluation_set", "query_id", "image_id")
    states = zip(*(judged[name].to_pylist() for name in (*columns, "state")), strict=True)
    said = {tuple(pair): _VERDICTS[state] for *pair, state in states if state in _VERDICTS}
    known = [
        (row["score"], said.get(tuple(row[name] for name in columns), False), row["landmark_id"])
        for row in read_verified(config).select([*columns, "landmark_id", "score"]).to_pylist()
        if tuple(row[name] for name in columns) in said or row["landmark_id"] in controls
    ]
    scores, same, landmarks = zip(*known, strict=True) if known else ((), (), ())
    return np.array(scores, np.float64), np.array(same, bool), np.array(landmarks, np.int64)


def _both(same: Any) -> bool:
    return bool(len(same)) and bool(same.any()) and not bool(same.all())


def _validated(scores: Any, same: Any, landmarks: Any) -> Reliability | None:
    """Validate where every fold can have same and different pairs of at least two landmarks each."""
    if not _both(same) or min(len(set(landmarks[same])), len(set(landmarks[~same]))) < 2:
        return None
    try:
        return validate_chance(scores, same, landmarks)
    except DataError:
        return None
