"""Score tables with known truth, detectors and reviewers that err alike: is the stated bound kept?

Every overlapping landmark has a difficulty. It lowers what the detector gives it and the chance that a reviewer
recognises it, so what was missed is also what reviewers recognise least; and the reviewers of one landmark share more
luck than that. The audit is the real one: its own strata, draw, checks and bound.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from overlap.audit.bound import bound_overlap
from overlap.audit.sample import Seen, count_strata, draw_audit
from overlap.base.config import AuditConfig
from overlap.base.tables import LANDMARKS, REMOVALS, as_table

_REVIEWERS = 3
_THRESHOLD = 0.5
_RETRIEVED = 0.02


@dataclass(frozen=True)
class Scenario:
    """Say how a world is.

    Args:
        n_landmarks: landmarks of the training set; the first `n_overlapping` are in an evaluation set.
        blindness: how much a landmark's difficulty (standard normal) lowers its score, in units of its own noise.
        likeness: correlation of the difficulty with what makes reviewers overlook a landmark.
        sensitivity: share of overlapping landmarks of middling difficulty that one reviewer recognises.
        false_yes: chance that a reviewer takes a landmark for one of an evaluation set that is none.
    """

    n_landmarks: int = 5000
    n_overlapping: int = 40
    blindness: float = 1.0
    likeness: float = 0.5
    sensitivity: float = 0.9
    false_yes: float = 0.001


@dataclass(frozen=True)
class BoundTrial:
    """Hold the truth and the bound: landmarks left when those that people recognised are removed."""

    n_left: int
    bound: int


def draw_scenario(rng: np.random.Generator) -> Scenario:
    """Draw a world: small or large, easy or hard, its errors little or much alike."""
    n_landmarks = int(10 ** rng.uniform(2.7, 3.7))
    return Scenario(
        n_landmarks=n_landmarks,
        n_overlapping=int(n_landmarks * 10 ** rng.uniform(-3, -1)) + 5,
        blindness=float(rng.uniform(0, 2)),
        likeness=float(rng.uniform(0, 0.6)),
        sensitivity=float(rng.uniform(0.7, 0.99)),
        false_yes=float(rng.choice([0.0, 0.001, 0.005])),
    )


def draw_settings(rng: np.random.Generator, scenario: Scenario) -> AuditConfig:
    """Draw an audit: of a tenth of the landmarks to all of them, with few or many checks."""
    share = float(rng.choice([0.1, 0.3, 0.6, 1.0]))
    drawn = int(share * scenario.n_landmarks)
    return AuditConfig(whole=int(rng.integers(0, 200)), below=drawn, random=drawn, checks=int(rng.integers(10, 200)))


def simulate_audit(scenario: Scenario, settings: AuditConfig, *, seed: int) -> BoundTrial:
    """Draw scores, let reviewers confirm what reached them, audit the rest, and compare the bound with the truth."""
    rng = np.random.default_rng(seed)
    scores = _draw_scores(scenario, rng)
    recognised = _draw_verdicts(scenario, scores.difficulty, rng)
    removed = recognised & (scores.score >= _THRESHOLD)
    seen = Seen({int(n): (float(scores.score[n]), 0.0) for n in np.flatnonzero(scores.retrieved)})
    drawn = draw_audit(
        _landmarks(scenario), _removals(removed), seen, settings=settings.model_copy(update={"seed": seed})
    )
    # Another showing, another question: a landmark as a whole. Its difficulty stays, the reviewers' luck does not.
    verdicts = _draw_verdicts(scenario, scores.difficulty, rng)
    strata, n_recognised, n_checks = count_strata(drawn, dict(enumerate(verdicts.tolist())))
    bound = bound_overlap(strata, recognised=n_recognised, checks=n_checks)
    judged = np.array(drawn.filter(drawn["drawn"])["landmark_id"].to_pylist(), np.int64)
    found = np.zeros(scenario.n_landmarks, bool)
    found[judged] = verdicts[judged]
    left = np.arange(scenario.n_landmarks) < scenario.n_overlapping
    return BoundTrial(int((left & ~removed & ~found).sum()), bound.remaining)


@dataclass(frozen=True)
class _Scores:
    score: NDArray[np.float64]
    retrieved: NDArray[np.bool_]
    difficulty: NDArray[np.float64]


def _draw_scores(scenario: Scenario, rng: np.random.Generator) -> _Scores:
    """Draw what search and verification give each landmark; the hardest overlapping ones are not even retrieved."""
    n, n_true = scenario.n_landmarks, scenario.n_overlapping
    difficulty = rng.normal(size=n)
    evidence = rng.normal(-3.0, 1.0, n)
    evidence[:n_true] = rng.normal(1.5, 1.0, n_true) - scenario.blindness * difficulty[:n_true]
    retrieved = rng.random(n) < _RETRIEVED
    retrieved[:n_true] = evidence[:n_true] > -1.5
    return _Scores(np.where(retrieved, special.expit(evidence), 0.0), retrieved, difficulty)


def _draw_verdicts(scenario: Scenario, difficulty: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw whether one of the reviewers says yes; of a landmark's reviewers half the luck is shared."""
    n, n_true = scenario.n_landmarks, scenario.n_overlapping
    shared = rng.normal(size=n)
    luck = np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.normal(size=(_REVIEWERS, n))
    trouble = scenario.likeness * difficulty + np.sqrt(1 - scenario.likeness**2) * luck
    limit = np.full(n, special.ndtri(max(scenario.false_yes, 1e-12)))
    limit[:n_true] = special.ndtri(scenario.sensitivity)
    # Those that are in no evaluation set have no difficulty to be recognised with.
    trouble[:, n_true:] = luck[:, n_true:]
    verdicts: NDArray[np.bool_] = (trouble < limit).any(axis=0)
    return verdicts


def _landmarks(scenario: Scenario) -> pa.Table:
    ids = np.arange(scenario.n_landmarks)
    columns = {"landmark_id": ids, "landmark_name": [""] * len(ids), "n_images": np.ones(len(ids), np.int64)}
    return pa.table(columns, schema=LANDMARKS)


def _removals(removed: NDArray[np.bool_]) -> pa.Table:
    rest = {
        "landmark_name": "",
        "evaluation_set": "s",
        "origin": "global",
        "n_queries": 1,
        "n_images": 1,
        "evidence": [],
    }
    return as_table([rest | {"landmark_id": int(n), "n_confirmed": 1} for n in np.flatnonzero(removed)], REMOVALS)
