"""One query and one photo -> whether, and by which model, they show the same landmark."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overlap.base.config import VerifyConfig
from overlap.base.tables import LocalFeatures
from overlap.verify.evidence import gather
from overlap.verify.geometry import Model, find_models, find_similarities
from overlap.verify.match import FindNearest, FloatRows, Matches, MatchPair, PhotoPair, match_batch
from overlap.verify.presets import PRESETS, Preset
from overlap.verify.score import score_of
from overlap.verify.surroundings import weigh_surroundings
from overlap.verify.watermark import is_watermark

_FEWEST_MATCHES = 4
_PROMISING = 0.1
# The first pass: what it loses was measured for these kinds of features alone.
_GLANCED = frozenset({"sift"})
_GLANCE_FEATURES = 1024
_GLANCE_MATCHES = 120
_GLANCE_NATS = 0.0
# Under this evidence a pair is no match whatever lies around.
_AROUND_NATS = 8.0


@dataclass(frozen=True)
class PairResult:
    """Say what verification found.

    Args:
        n_matches: matches after thinning, at most 400.
        n_inliers: matches that speak for the model.
        score: in [0, 1], grows with belief.
        status: one of tables.STATUSES.
        geometry: homography, fundamental or none.
        matrix: (3, 3) float64, query pixels to photo pixels (fundamental: photo' F query = 0), or None.
        inliers: (I, 2) int32 rows of the query's and the photo's features, sorted.
    """

    n_matches: int
    n_inliers: int
    score: float
    status: str
    geometry: str
    matrix: FloatRows | None
    inliers: NDArray[np.int32]


def verify_pair(
    query: LocalFeatures, photo: LocalFeatures, *, settings: VerifyConfig, match: MatchPair | None = None
) -> PairResult:
    """Compare two photos, as verify_batch does many."""
    return verify_batch([(query, photo)], settings=settings, match=match)[0]


def verify_batch(
    batch: Sequence[PhotoPair],
    *,
    settings: VerifyConfig,
    match: MatchPair | None = None,
    find_nearest: FindNearest | None = None,
) -> list[PairResult]:
    """Compare the photos of every pair. The same features and settings give the same results, whatever computes them.

    A first pass over the strongest SIFT features stops at pairs that they make hopeless: no similarity explains their
    matches better than chance does.

    Args:
        batch: features of a query and of a training photo, of the kind that settings name.
        settings: kind of features and seed; the threshold plays no part.
        match: a learned matcher; without it mutual nearest neighbours.
        find_nearest: finds the nearest neighbours of many pairs at once, on a GPU; without it one pair after another.

    Returns:
        Status ``too_few_matches`` (under 4), ``no_model`` (none that 4 matches speak
        for; the score, near 0, still says how far off), ``watermark`` (what agrees is a mark
        stuck to both pictures; score 0) or ``ok``.
    """
    preset = PRESETS[settings.features]
    results: list[PairResult | None] = [None] * len(batch)
    if match is None and settings.features in _GLANCED:
        results = glance_batch(batch, preset=preset, find_nearest=find_nearest)
    rest = [photos for photos, result in zip(batch, results, strict=True) if result is None]
    matched = match_batch(rest, preset=preset, match=match, find_nearest=find_nearest)
    closely = (_weigh(*photos, matches, settings) for photos, matches in zip(rest, matched, strict=True))
    return [next(closely) if result is None else result for result in results]


def look_closely(query: LocalFeatures, photo: LocalFeatures, *, settings: VerifyConfig) -> PairResult:
    """Compare two photos by all their features, as verify_batch does with those that its first pass lets through."""
    return _weigh(query, photo, match_batch([(query, photo)], preset=PRESETS[settings.features])[0], settings)


def glance(query: LocalFeatures, photo: LocalFeatures, *, preset: Preset) -> PairResult | None:
    """Look at the strongest features of two photos, as glance_batch does of many."""
    return glance_batch([(query, photo)], preset=preset)[0]


def glance_batch(
    batch: Sequence[PhotoPair], *, preset: Preset, find_nearest: FindNearest | None = None
) -> list[PairResult | None]:
    """Return the results of pairs that their strongest features make hopeless; None for those that need a full look.

    Where neither photo has more features than a glance takes in, every pair gets the full look: it costs no more.
    """
    many = [place for place, photos in enumerate(batch) if max(len(one.xy_px) for one in photos) > _GLANCE_FEATURES]
    few = [(strongest_features(batch[place][0]), strongest_features(batch[place][1])) for place in many]
    results: list[PairResult | None] = [None] * len(batch)
    matched = match_batch(few, preset=preset, find_nearest=find_nearest)
    for place, photos, matches in zip(many, few, matched, strict=True):
        results[place] = _stop_hopeless(*photos, matches, preset)
    return results


def strongest_features(features: LocalFeatures, most: int = _GLANCE_FEATURES) -> LocalFeatures:
    """Return the first, strongest features of a photo."""
    return LocalFeatures(
        xy_px=features.xy_px[:most],
        scales_px=features.scales_px[:most],
        angles_deg=features.angles_deg[:most],
        responses=features.responses[:most],
        descriptors=features.descriptors[:most],
        size_px=features.size_px,
    )


def threshold_of(settings: VerifyConfig) -> float:
    """Return the threshold on the score: the configured one, or the preset of the kind of features."""
    return PRESETS[settings.features].threshold if settings.threshold is None else settings.threshold


def review_threshold_of(settings: VerifyConfig, review_threshold: float | None) -> float:
    """Return the score from which a pair goes to reviewers: the configured one or the preset, never above the other."""
    preset = PRESETS[settings.features].review_threshold
    return min(threshold_of(settings), preset if review_threshold is None else review_threshold)


def _weigh(query: LocalFeatures, photo: LocalFeatures, matches: Matches, settings: VerifyConfig) -> PairResult:
    """Return what the matches of two photos say."""
    preset = PRESETS[settings.features]
    if len(matches.pairs) < _FEWEST_MATCHES:
        return _nothing(len(matches.pairs), "too_few_matches")
    found = gather(query, photo, matches, sigma_px=preset.sigma_px)
    models = find_models(found, seed=settings.seed)
    if not models:
        return _nothing(len(matches.pairs), "no_model")
    model = models[0]
    nats = model.evidence + (0.0 if found.has_frames else _look_around(query, photo, matches, models, found.sigma))
    score = score_of(nats, even_nats=preset.even_nats)
    if len(model.inliers) < _FEWEST_MATCHES:
        return replace(_nothing(len(matches.pairs), "no_model"), score=score)
    inliers = matches.pairs[model.inliers]
    marked = score >= _PROMISING and is_watermark(query, photo, inliers, seed=settings.seed)
    return PairResult(
        n_matches=len(matches.pairs),
        n_inliers=len(inliers),
        score=0.0 if marked else score,
        status="watermark" if marked else "ok",
        geometry=model.geometry,
        matrix=_in_pixels(model, query, photo),
        inliers=inliers[np.lexsort(inliers.T[::-1])],
    )


def _stop_hopeless(query: LocalFeatures, photo: LocalFeatures, matches: Matches, preset: Preset) -> PairResult | None:
    seen = Matches(matches.pairs[:_GLANCE_MATCHES], matches.trusts[:_GLANCE_MATCHES])
    if len(seen.pairs) < _FEWEST_MATCHES:
        return None
    models = find_similarities(gather(query, photo, seen, sigma_px=preset.sigma_px))
    evidence = max((model.evidence for model in models), default=-np.inf)
    if evidence >= _GLANCE_NATS:
        return None
    score = score_of(evidence, even_nats=preset.even_nats) if models else 0.0
    return replace(_nothing(len(matches.pairs), "no_model"), score=score)


def _look_around(
    query: LocalFeatures, photo: LocalFeatures, matches: Matches, models: list[Model], sigma: float
) -> float:
    """Return the nats of the features around the inliers, under the best homography; none for a poor pair.

    Sizes and orientations tell the same already: with SIFT this changed nothing on real photos.
    """
    if models[0].evidence < _AROUND_NATS:
        return 0.0
    plane = next(model for model in models if model.geometry == "homography")
    used = np.union1d(models[0].inliers, plane.inliers)
    return weigh_surroundings(query, photo, plane.matrix, used=matches.pairs[used, 0].astype(np.int64), sigma=sigma)


def _nothing(n_matches: int, status: str) -> PairResult:
    return PairResult(n_matches, 0, 0.0, status, "none", None, np.zeros((0, 2), np.int32))


def _in_pixels(model: Model, query: LocalFeatures, photo: LocalFeatures) -> FloatRows:
    """Return the model's matrix for pixels, of unit norm or with a last element of 1."""
    before, after = (_normaliser(features) for features in (query, photo))
    if model.geometry == "fundamental":
        matrix: FloatRows = after.T @ model.matrix @ before
        return matrix / np.linalg.norm(matrix)
    matrix = np.linalg.inv(after) @ model.matrix @ before
    return matrix / (matrix[2, 2] if abs(matrix[2, 2]) > 1e-12 else np.linalg.norm(matrix))


def _normaliser(features: LocalFeatures) -> FloatRows:
    """Return the matrix from pixels to the coordinates of Correspondences."""
    width, height = features.size_px
    diagonal = np.hypot(width, height)
    return np.array(
        [[1 / diagonal, 0, (1 - width) / 2 / diagonal], [0, 1 / diagonal, (1 - height) / 2 / diagonal], [0, 0, 1]]
    )
