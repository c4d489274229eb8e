"""One query and one photo -> whether, and by which model, they show the same landmark."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from overlap.config import VerifyConfig
from overlap.tables import LocalFeatures
from overlap.verify.evidence import gather
from overlap.verify.geometry import Model, find_models, find_similarities
from overlap.verify.match import FloatRows, Matches, MatchPair, match_features
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
    """Compare two photos. The same features and settings give the same result, whatever the number of threads.

    A first pass over the strongest SIFT features stops at pairs that they make hopeless: no similarity explains their
    matches better than chance does.

    Args:
        query: features of the query, of the kind that settings name.
        photo: features of the training photo.
        settings: kind of features and seed; the threshold plays no part.
        match: a learned matcher; without it mutual nearest neighbours.

    Returns:
        Status ``too_few_matches`` (under 4), ``no_model`` (none that 4 matches speak
        for; the score, near 0, still says how far off), ``watermark`` (what agrees is a mark
        stuck to both pictures; score 0) or ``ok``.
    """
    if match is None and settings.features in _GLANCED:
        hopeless = glance(query, photo, preset=PRESETS[settings.features])
        if hopeless is not None:
            return hopeless
    return look_closely(query, photo, settings=settings, match=match)


def look_closely(
    query: LocalFeatures, photo: LocalFeatures, *, settings: VerifyConfig, match: MatchPair | None = None
) -> PairResult:
    """Compare two photos by all their features, as verify_pair does with those that its first pass lets through."""
    preset = PRESETS[settings.features]
    matches = match_features(query, photo, preset=preset, match=match)
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


def glance(query: LocalFeatures, photo: LocalFeatures, *, preset: Preset) -> PairResult | None:
    """Return the result of a pair that its strongest features make hopeless; None for one that needs a full look.

    Where neither photo has more features than a glance takes in, every pair gets the full look: it costs no more.
    """
    if max(len(query.xy_px), len(photo.xy_px)) <= _GLANCE_FEATURES:
        return None
    few = [strongest_features(features, _GLANCE_FEATURES) for features in (query, photo)]
    matches = match_features(few[0], few[1], preset=preset)
    seen = Matches(matches.pairs[:_GLANCE_MATCHES], matches.trusts[:_GLANCE_MATCHES])
    if len(seen.pairs) < _FEWEST_MATCHES:
        return None
    models = find_similarities(gather(few[0], few[1], seen, sigma_px=preset.sigma_px))
    evidence = max((model.evidence for model in models), default=-np.inf)
    if evidence >= _GLANCE_NATS:
        return None
    score = score_of(evidence, even_nats=preset.even_nats) if models else 0.0
    return replace(_nothing(len(matches.pairs), "no_model"), score=score)


def strongest_features(features: LocalFeatures, most: int) -> LocalFeatures:
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
