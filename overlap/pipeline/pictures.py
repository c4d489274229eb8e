"""Pictures of what networks learned: attention and masks, best ranked photos, photos in the plane, curves."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from overlap.base.images import Pixels, load_photo, resize_within
from overlap.base.tables import FloatArray
from overlap.datasets.catalogue import EvaluationSet, QueryTruth
from overlap.descriptors.batches import grid_shape, load_scaled
from overlap.pipeline.evaluate import require_truth
from overlap.pipeline.impact import Study
from overlap.pipeline.look import Eye, as_tensor, find_attention, load_upright, open_eye, open_trained, open_untrained
from overlap.pipeline.run import Run
from overlap.pipeline.trials import TrialResult
from overlap.report.figures import CurvePoint, draw_changes, draw_curves, draw_doses, draw_effects
from overlap.report.photo_figures import (
    AttentionView,
    EmbeddingView,
    RankingView,
    draw_attention,
    draw_embeddings,
    draw_rankings,
)
from overlap.study.evaluation.boxes import component_boxes
from overlap.study.evaluation.groups import group_queries
from overlap.study.evaluation.impact import CLEAN, FULL
from overlap.study.evaluation.protocol import REVISITED, split_truth

_SHOWN_PX = 240
_TOP = 5
_METHOD = "cider_"


@dataclass(frozen=True, eq=False)
class _Scene:
    """Hold the network whose pictures are made, before and after training, and the photos of one evaluation set."""

    run: Run
    evaluation: EvaluationSet
    truths: tuple[QueryTruth, ...]
    before: Any
    after: Any
    eyes: tuple[Eye, Eye]


def draw_charts(study: Study, *, protocol: str) -> dict[str, bytes]:
    """Draw effects, changes, doses and curves; PNGs by name."""
    drawn = {
        "effects": draw_effects(study.effects, protocol=protocol),
        "changes": draw_changes(study.changes),
        "curves": draw_curves(_curves(study.outcomes)),
    }
    return drawn | ({"doses": draw_doses(study.doses)} if study.doses.num_rows else {})


def draw_pictures(run: Run, study: Study) -> dict[str, bytes]:
    """Draw attention, best ranked photos and the plane for the study's first CiDeR on the clean version.

    Returns:
        PNGs by name; none where no CiDeR was trained or ``impact.pictures`` is 0.
    """
    chosen = next(
        (
            each
            for each in study.outcomes
            if each.trial.network.name.startswith(_METHOD) and each.trial.plan.name == CLEAN
        ),
        None,
    )
    if chosen is None or not run.config.impact.pictures:
        return {}
    scenes = [_open_scene(run, evaluation, chosen) for evaluation in study.sets.evaluations]
    queries = list(_choose_queries(scenes, run.config.impact.pictures))
    return {
        "attention": draw_attention([_attention_view(scene, row) for scene, row in queries]),
        "rankings": draw_rankings([_ranking_view(scene, row) for scene, row in queries]),
        "embeddings": draw_embeddings(
            _embedding_views(scenes[-1], seed=run.config.impact.seed), columns=len(REVISITED)
        ),
    }


def _curves(outcomes: Sequence[TrialResult]) -> dict[tuple[str, str], list[Sequence[CurvePoint]]]:
    """Return the curves of the full, the clean and the first placebo version, by network and version."""
    curves: dict[tuple[str, str], list[Sequence[CurvePoint]]] = {}
    for each in outcomes:
        if each.trial.plan.name in (FULL, CLEAN, "placebo-1"):
            points = [(point.step, point.loss, point.validation_map) for point in each.curve]
            curves.setdefault((each.trial.label, each.trial.plan.name), []).append(points)
    return curves


def _open_scene(run: Run, evaluation: EvaluationSet, outcome: TrialResult) -> _Scene:
    size_px = run.config.impact.size_px
    before = open_untrained(outcome.trial.network, seed=outcome.trial.seed)
    after = open_trained(outcome.trained.checkpoint)
    eyes = (open_eye(before, size_px=size_px), open_eye(after, size_px=size_px))
    return _Scene(run, evaluation, require_truth(evaluation), before, after, eyes)


def _choose_queries(scenes: Sequence[_Scene], number: int) -> Iterator[tuple[_Scene, int]]:
    """Choose queries evenly over the evaluation sets, and evenly in each."""
    for turn, scene in enumerate(scenes):
        share = len(range(turn, number, len(scenes)))
        n_queries = scene.evaluation.queries.num_rows
        for row in np.unique(np.linspace(0, n_queries - 1, min(share, n_queries)).round().astype(int)).tolist():
            yield scene, row


def _attention_view(scene: _Scene, row: int) -> AttentionView:
    query = scene.evaluation.queries.slice(row, 1).to_pylist()[0]
    upright = load_upright(query, scene.run.limits)
    photo = load_photo(query, crop=False, limits=scene.run.limits) if upright is None else upright
    before, after = (find_attention(eye, photo) for eye in scene.eyes)
    shown, factor = _shrink(photo)
    size_px = (shown.shape[1], shown.shape[0])
    threshold = scene.eyes[1].threshold
    return AttentionView(
        query["image_id"],
        shown,
        before,
        after,
        (after >= threshold).astype(np.float32),
        tuple(component_boxes(after, threshold=threshold, size_px=size_px)),
        None if upright is None else _scaled(query["crop_px"], factor),
    )


def _ranking_view(scene: _Scene, row: int) -> RankingView:
    query = scene.evaluation.queries.slice(row, 1).to_pylist()[0]
    upright = load_upright(query, scene.run.limits)
    whole, factor = _shrink(load_photo(query, crop=False, limits=scene.run.limits) if upright is None else upright)
    vector = _describe(scene, scene.after, [query])
    best = np.argsort(-(_database(scene, scene.after) @ vector[0]), kind="stable")[:_TOP].tolist()
    photos = [load_photo(photo, limits=scene.run.limits) for photo in scene.evaluation.photos.take(best).to_pylist()]
    return RankingView(
        query["image_id"],
        whole,
        None if upright is None else _scaled(query["crop_px"], factor),
        tuple((_shrink(photo)[0], find_attention(scene.eyes[1], photo)) for photo in photos),
        tuple(_label(scene.truths[row], place) for place in best),
    )


def _embedding_views(scene: _Scene, *, seed: int) -> list[EmbeddingView]:
    """Place the database of an evaluation set in the plane, before and after training, coloured by each protocol."""
    points = [_embed(_database(scene, network), seed=seed) for network in (scene.before, scene.after)]
    return [
        EmbeddingView(f"{protocol}, {when}", each, _landmarks(scene.truths, protocol, len(each)))
        for when, each in zip(("before training", "after training"), points, strict=True)
        for protocol in REVISITED
    ]


def _embed(vectors: FloatArray, *, seed: int) -> FloatArray:
    """Place descriptors in the plane by t-SNE; equal ones for the same seed."""
    from sklearn.manifold import TSNE

    perplexity = min(30.0, max(2.0, (len(vectors) - 1) / 4))
    return np.asarray(
        TSNE(perplexity=perplexity, init="pca", random_state=seed, metric="cosine").fit_transform(vectors)
    )


def _landmarks(truths: Sequence[QueryTruth], protocol: str, n_photos: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the landmark that each photo is a positive of, numbered by its first query; -1 for none."""
    numbers = group_queries(truths).tolist()
    found = np.full(n_photos, -1, dtype=np.int64)
    for number, truth in zip(numbers, truths, strict=True):
        found[split_truth(truth, protocol)[0]] = number
    return found


def _database(scene: _Scene, network: Any) -> FloatArray:
    return _describe(scene, network, scene.evaluation.photos.to_pylist())


def _describe(scene: _Scene, network: Any, rows: Sequence[Mapping[str, Any]]) -> FloatArray:
    """Describe photos one by one, as the evaluation does at its first scale."""
    import torch

    settings = scene.run.config.impact
    vectors = []
    for row in rows:
        (pixels,) = load_scaled(
            row, size_px=settings.size_px, scales=settings.scales[:1], limits=scene.run.limits, fit=grid_shape
        )
        with torch.inference_mode():
            vectors.append(network(as_tensor(pixels))[0].numpy())
    return np.stack(vectors)


def _label(truth: QueryTruth, place: int) -> str:
    lists = {"easy": truth.easy, "hard": truth.hard, "junk": truth.junk}
    return next((name for name, places in lists.items() if place in places), "wrong")


def _shrink(photo: Pixels) -> tuple[Pixels, float]:
    """Return a photo as it is shown, and by what it shrank."""
    shown = resize_within(photo, _SHOWN_PX)
    return shown, shown.shape[1] / photo.shape[1]


def _scaled(box: Sequence[float] | None, factor: float) -> tuple[float, float, float, float] | None:
    if box is None:
        return None
    x0, y0, x1, y1 = (edge * factor for edge in box)
    return (x0, y0, x1, y1)
