"""Pairs a second and average precision of verification, against the authors' recipe on the same photos.

    python -m benchmarks verification --photos ROOT

A share of all pairs of queries and photos, of the true ones and of the others alike, is drawn; features are computed
beforehand. Everything runs on one core and is counted in processor time. benchmarks/verification.py says more.
"""

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.results import Result
from benchmarks.verification import _METHODS, _load_features, average_precision, read_truth
from overlap.base.config import VerifyConfig
from overlap.base.tables import LocalFeatures
from overlap.verify.match import match_features
from overlap.verify.pairs import glance, look_closely
from overlap.verify.presets import PRESETS

_PEER = "authors' recipe, inliers"
_SETTINGS = VerifyConfig()
Pairs = list[tuple[LocalFeatures, LocalFeatures]]


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Compare both on the drawn pairs, and look at what the first pass stops."""
    truth = read_truth(options.photos)
    features = _load_features(truth, _SETTINGS, options.cache)
    every = [(query, photo) for query in truth.queries for photo in truth.photos]
    positive = np.array([truth.is_positive(*pair) for pair in every])
    rows = _draw(positive, options.verification_share)
    drawn = [every[row] for row in rows]
    pairs = [(features[query.source, query.image_id], features[photo.source, photo.image_id]) for query, photo in drawn]
    scores, rates = {}, {}
    for name in ("score", _PEER):
        scores[name], rates[name] = _run(pairs, _METHODS[name])
    yield from _results(scores, rates, positive[rows])
    yield from _look_at_glance(pairs, positive[rows])


def _results(scores: dict[str, np.ndarray], rates: dict[str, float], positive: np.ndarray) -> Iterator[Result]:
    ap = {name: average_precision(values, positive) for name, values in scores.items()}
    note = f"{len(positive):,} pairs, {positive.sum()} of them true; peer {rates[_PEER]:.1f} pairs/s"
    ratio = rates["score"] / rates[_PEER]
    yield Result("verification: pairs a second of a core, SIFT", rates["score"], "pairs/s", _PEER, ratio, note)
    note = f"peer {ap[_PEER]:.3f}; same pairs, drawn as in the whole"
    yield Result("verification: average precision, SIFT", ap["score"], "AP", _PEER, ap["score"] / ap[_PEER], note)


def _look_at_glance(pairs: Pairs, positive: np.ndarray) -> Iterator[Result]:
    preset = PRESETS["sift"]
    stopped = np.array([glance(query, photo, preset=preset) is not None for query, photo in pairs])
    yield Result("verification: false pairs that the first pass stops", stopped[~positive].mean(), "share")
    lost = [look_closely(*pairs[row], settings=_SETTINGS).score for row in np.flatnonzero(stopped & positive)]
    note = f"a full look gives them at most {max(lost, default=0):.3f}; {sum(one >= 0.1 for one in lost)} reach 0.1"
    yield Result("verification: true pairs that the first pass stops", stopped[positive].mean(), "share", note=note)
    milliseconds = 1000 / _run(pairs[:60], lambda query, photo, **_: glance(query, photo, preset=preset) is None)[1]
    full = 1000 / _run(pairs[:60], lambda query, photo, **_: len(match_features(query, photo, preset=preset).pairs))[1]
    yield Result("verification: first pass", milliseconds, "ms a pair", "matching all features", milliseconds / full)


def _run(pairs: Pairs, compare: Callable[..., float]) -> tuple[np.ndarray, float]:
    began = time.process_time()
    values = [compare(query, photo, settings=_SETTINGS) for query, photo in pairs]
    return np.array(values, dtype=float), len(pairs) / (time.process_time() - began)


def _draw(positive: np.ndarray, share: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    groups = (np.flatnonzero(positive), np.flatnonzero(~positive))
    return np.sort(
        np.concatenate([rng.choice(rows, max(round(share * len(rows)), 1), replace=False) for rows in groups])
    )
