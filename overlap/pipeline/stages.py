"""One stage against two: CiDeR, which finds and describes at once, beside detecting, cropping and describing again."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from overlap.base.errors import DataError
from overlap.base.images import Pixels, resize_within
from overlap.base.tables import BOXES, IMAGES, STAGES, Descriptors, as_table
from overlap.datasets.catalogue import EvaluationSet
from overlap.pipeline.evaluate import protocols_of, require_truth
from overlap.pipeline.look import as_tensor, find_box, load_upright, open_eye, open_trained, open_untrained
from overlap.pipeline.photos import Sets
from overlap.pipeline.retrieve import describe_images
from overlap.pipeline.run import Run
from overlap.pipeline.trials import TrialResult, evaluation_settings
from overlap.study.evaluation.boxes import Box, centre_box, intersection_over_union
from overlap.study.evaluation.impact import CLEAN
from overlap.study.evaluation.scores import Subject, evaluate_descriptors

Finder: TypeAlias = Callable[[Pixels], Box]
_TIMED = 20
# What of a photo's area a crop of the middle keeps.
_MIDDLE = 0.5


@dataclass(frozen=True, eq=False)
class Method:
    """Say how database photos are described.

    Args:
        outcome: whose network describes.
        seconds: of training, the detector's included.
        find: gives the box to crop to; None to describe whole photos.
    """

    name: str
    outcome: TrialResult
    seconds: float
    find: Finder | None = None


def compare_stages(run: Run, sets: Sets, outcomes: Sequence[TrialResult]) -> pa.Table:
    """Score the plain network on whole photos and on crops of them, beside CiDeR on whole photos (STAGES).

    Crops are of database photos: where CiDeR's mask or the plain network's own activation finds the object and, to
    compare with, of their middle. A crop keeps its scale. Queries are cropped to their boxes in any case.
    """
    rows: list[dict[str, object]] = []
    for cider, plain in _pair(outcomes):
        for method in _methods(run, cider, plain):
            photo_ms = _time_photo(run, sets, method)
            rows += [{**row, "training_s": method.seconds, "photo_ms": photo_ms} for row in _score(run, sets, method)]
    return as_table(rows, STAGES)


def compare_boxes(run: Run, sets: Sets, outcomes: Sequence[TrialResult]) -> pa.Table:
    """Measure how well boxes found without labels meet the queries' boxes, beside boxes that look at nothing (BOXES).

    Photos that are stored turned are left out. The box of the middle has the queries' mean share of the photo's area,
    which no method is told.
    """
    photos = [
        (photo, tuple(row["crop_px"]))
        for row in sets.queries.to_pylist()
        if row["crop_px"] is not None and (photo := load_upright(row, run.limits)) is not None
    ]
    rows: list[dict[str, object]] = []
    for cider, plain in _pair(outcomes) if photos else ():
        share = float(np.mean([_share(photo, box) for photo, box in photos]))
        for method, find in _finders(run, cider, plain, share=share).items():
            found = np.array([intersection_over_union(find(photo), box) for photo, box in photos])
            about = {"method": method, "seed": cider.trial.seed, "n_queries": len(found)}
            rows.append({**about, "mean_iou": float(found.mean()), "half": float((found >= 0.5).mean())})
    return as_table(rows, BOXES)


def _pair(outcomes: Sequence[TrialResult]) -> list[tuple[TrialResult, TrialResult]]:
    """Return CiDeR with the plain network of the same backbone, on the clean version, for each seed."""
    clean = {(each.trial.network.name, each.trial.seed): each for each in outcomes if each.trial.plan.name == CLEAN}
    twins = {key: (key[0].replace("cider_", "gem_", 1), key[1]) for key in clean if key[0].startswith("cider_")}
    return [(clean[key], clean[twin]) for key, twin in twins.items() if twin in clean]


def _methods(run: Run, cider: TrialResult, plain: TrialResult) -> tuple[Method, ...]:
    finders = [_finder(run, each) for each in (cider, plain)]
    name, both = plain.trial.label, plain.seconds + cider.seconds
    return (
        Method(cider.trial.label, cider, cider.seconds),
        Method(name, plain, plain.seconds),
        Method(f"{name}, crop by {cider.trial.label}", plain, both, finders[0]),
        Method(f"{name}, crop by its own activation", plain, plain.seconds, finders[1]),
        Method(f"{name}, crop of the middle", plain, plain.seconds, lambda photo: _middle(photo, share=_MIDDLE)),
    )


def _finders(run: Run, cider: TrialResult, plain: TrialResult, *, share: float) -> Mapping[str, Finder]:
    untrained = open_untrained(cider.trial.network, seed=cider.trial.seed)
    eye = open_eye(untrained, size_px=run.config.impact.size_px)
    return {
        f"{cider.trial.label}, mask": _finder(run, cider),
        f"{cider.trial.label}, mask before training": lambda photo: find_box(eye, photo),
        f"{plain.trial.label}, activation": _finder(run, plain),
        "middle of the photo": lambda photo: _middle(photo, share=share),
        "whole photo": lambda photo: _middle(photo, share=1),
    }


def _finder(run: Run, outcome: TrialResult) -> Finder:
    eye = open_eye(open_trained(outcome.trained.checkpoint), size_px=run.config.impact.size_px)
    return lambda photo: find_box(eye, photo)


def _score(run: Run, sets: Sets, method: Method) -> list[dict[str, Any]]:
    settings = evaluation_settings(run.config).model_copy(
        update={"kind": "network", "path": method.outcome.trained.checkpoint}
    )
    described = replace(run, config=run.config.model_copy(update={"descriptors": settings}))
    rows = []
    for each in sets.evaluations:
        photos = each.photos if method.find is None else _crop(run, each, method.find)
        queries = _join(describe_images(described, each.queries, label=f"queries: {each.name}"))
        database = _join(describe_images(described, photos, label=f"crops: {each.name}"))
        found = evaluate_descriptors(
            queries,
            database,
            require_truth(each),
            subject=Subject(method.name, each.name, CLEAN, method.outcome.trial.seed),
            protocols=protocols_of(each),
        )
        rows += found.scores.to_pylist()
    names = ("evaluation_set", "protocol", "seed", "map")
    return [{"method": method.name, **{name: row[name] for name in names}} for row in rows]


def _join(parts: Sequence[Descriptors]) -> Descriptors:
    ids = [image_id for part in parts for image_id in part.image_ids]
    return Descriptors(ids, np.concatenate([part.vectors for part in parts]))


def _crop(run: Run, evaluation: EvaluationSet, find: Finder) -> pa.Table:
    """Return the database photos (IMAGES) with the boxes that are found in them."""
    rows = evaluation.photos.to_pylist()
    for row in rows:
        photo = load_upright(row, run.limits)
        row["crop_px"] = None if photo is None else list(find(photo))
    return as_table(rows, IMAGES)


def _time_photo(run: Run, sets: Sets, method: Method) -> float:
    """Return the median milliseconds that finding and describing takes, a photo at a time, without reading it."""
    network = open_trained(method.outcome.trained.checkpoint)
    size_px = run.config.impact.size_px
    rows = sets.evaluation_photos.to_pylist()
    photos = [photo for row in islice(rows, _TIMED) if (photo := load_upright(row, run.limits)) is not None]
    if not photos:
        raise DataError("none of the first evaluation photos is stored upright; they can't be timed")
    seconds = []
    for photo in photos:
        began = time.perf_counter()
        part = photo if method.find is None else _cut(photo, method.find(photo))
        _describe(network, resize_within(part, size_px))
        seconds.append(time.perf_counter() - began)
    return round(1000 * float(np.median(seconds)), 2)


def _describe(network: Any, photo: Pixels) -> None:
    import torch

    with torch.inference_mode():
        network(as_tensor(photo))


def _cut(photo: Pixels, box: Box) -> Pixels:
    x0, y0, x1, y1 = (round(edge) for edge in box)
    return photo[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]


def _middle(photo: Pixels, *, share: float) -> Box:
    return centre_box((photo.shape[1], photo.shape[0]), share=share)


def _share(photo: Pixels, box: Sequence[float]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]) / (photo.shape[0] * photo.shape[1]))
