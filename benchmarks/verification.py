"""Measure verification on a folder of real photos: every query against every photo.

    python -m benchmarks.verification --photos ROOT --features sift|aliked [--weights F] [--cache DIR] [--out F]
    python -m benchmarks.verification --photos ROOT --verified verified.csv [--threshold T]

ROOT holds ``gldv2/`` (train_clean.csv and train/a/b/c/ID.jpg), one folder an evaluation set (jpg/ and gnd_NAME.pkl) and
``queries.csv`` (evaluation_set, query_id, landmark, overlapping_landmark_ids). A positive is a query with a photo of a
landmark that overlaps with it; a pair that a verified.csv lacks counts as missed.

Beside the score stand two plain baselines of the same run: the recipe of the paper's authors (SIFT, kd-tree, ratio 0.8,
OpenCV's default RANSAC homography) and mutual nearest neighbours with MAGSAC, both by their inlier count.
"""

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from benchmarks.results import make_folder, one_thread
from overlap.base.config import VerifyConfig
from overlap.base.images import decode_photo
from overlap.base.tables import LocalFeatures
from overlap.datasets.pickles import read_plain_pickle
from overlap.features.catalogue import load_extractor
from overlap.features.storage import FEATURE_ARRAYS, pack_features, unpack_features
from overlap.verify.match import match_mutual
from overlap.verify.pairs import threshold_of, verify_pair

Pair = tuple[str, str, str]


@dataclass(frozen=True)
class Photo:
    """Name a picture: its set, id and landmark, and where it lies."""

    source: str
    image_id: str
    landmark_id: int
    path: Path
    crop_px: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Truth:
    """Hold queries, photos and the landmark ids that overlap with each query."""

    queries: list[Photo]
    photos: list[Photo]
    overlaps: dict[tuple[str, str], frozenset[int]]

    def is_positive(self, query: Photo, photo: Photo) -> bool:
        """Tell whether both show the same landmark."""
        return photo.landmark_id in self.overlaps[query.source, query.image_id]


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark."""
    options = _parse(arguments)
    truth = read_truth(options.photos)
    settings = VerifyConfig(features=options.features, weights=options.weights)
    threshold = threshold_of(settings) if options.threshold is None else options.threshold
    if options.verified:
        report("pipeline", truth, _read_scores(options.verified), threshold)
        return
    with one_thread():
        _compare_methods(options, truth, settings, threshold)


def _compare_methods(options: argparse.Namespace, truth: Truth, settings: VerifyConfig, threshold: float) -> None:
    features = _load_features(truth, settings, options.cache)
    kept: dict[str, dict[Pair, float]] = {}
    wanted = _BASELINES if options.features == "sift" else _BASELINES[:1]
    for name, compare in _METHODS.items():
        if name == "score" or (name in wanted and not options.no_baselines):
            kept[name], seconds = _compare_all(truth, features, partial(compare, settings=settings), name)
            report(name, truth, kept[name], threshold if name == "score" else None)
            n_pairs = len(kept[name])
            print(f"  {n_pairs / seconds:.1f} pairs/s of processor time ({1000 * seconds / n_pairs:.0f} ms a pair)")
            if name == "score" and options.out:
                _write_scores(options.out, truth, kept[name])


def read_truth(root: Path) -> Truth:
    """Read a photo folder."""
    boxes = {name: _read_boxes(root / name / f"gnd_{name}.pkl") for name in ("roxford5k", "rparis6k")}
    queries, overlaps = [], {}
    for row in _rows(root / "queries.csv"):
        source, query_id = row["evaluation_set"], row["query_id"]
        path = root / source / "jpg" / f"{query_id}.jpg"
        queries.append(Photo(source, query_id, -1, path, boxes[source][query_id]))
        overlaps[source, query_id] = frozenset(int(one) for one in row["overlapping_landmark_ids"].split())
    photos = [
        Photo("gldv2", one, int(row["landmark_id"]), root.joinpath("gldv2", "train", *one[:3], f"{one}.jpg"))
        for row in _rows(root / "gldv2" / "train_clean.csv")
        for one in row["images"].split()
    ]
    return Truth(queries, photos, overlaps)


def average_precision(scores: np.ndarray, positives: np.ndarray) -> float:
    """Return the mean precision at every positive, highest score first, ties in the given order."""
    hits = positives[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def report(name: str, truth: Truth, scores: dict[Pair, float], threshold: float | None) -> None:
    """Print what one method finds; ``threshold`` None reports at the highest score of a negative pair."""
    pairs = sorted(
        ((query, photo) for query in truth.queries for photo in truth.photos),
        key=lambda pair: (pair[0].source, pair[0].image_id, pair[1].image_id),
    )
    values = np.array([scores.get((q.source, q.image_id, p.image_id), -np.inf) for q, p in pairs])
    positives = np.array([truth.is_positive(query, photo) for query, photo in pairs])
    landmarks = np.array([photo.landmark_id for _, photo in pairs])
    low, high = np.quantile(_bootstrap(values, positives, landmarks), [0.05, 0.95])
    highest = values[~positives].max()
    print(f"{name}: AP {average_precision(values, positives):.3f} (90 % over landmarks {low:.3f} to {high:.3f})")
    missing = int(np.isneginf(values[positives]).sum())
    print(f"  {positives.sum()} positive of {len(pairs)} pairs, {missing} of them never compared")
    print(f"  negatives: highest {_text(np.sort(values[~positives])[::-1][:5])}")
    print(f"  positives: deciles {_text(np.quantile(np.maximum(values[positives], 0), np.arange(0.1, 1, 0.1)))}")
    print(f"  positives above every negative: {(values[positives] > highest).mean():.3f}")
    if threshold is None:
        threshold = float(np.nextafter(highest, np.inf))
    wanted = sorted({one for ids in truth.overlaps.values() for one in ids})
    best = {one: float(values[positives & (landmarks == one)].max()) for one in wanted}
    found = sum(value >= threshold for value in best.values())
    false = sorted({int(one) for one in landmarks[~positives & (values >= threshold)]})
    print(f"  at {threshold:.3f}: {found} of {len(wanted)} landmarks found, false hits on {false or 'none'}")
    print(
        f"  margin: weakest landmark's best pair {min(best.values()):.3f}, strongest negative {highest:.3f}", flush=True
    )


def _bootstrap(values: np.ndarray, positives: np.ndarray, landmarks: np.ndarray, rounds: int = 200) -> list[float]:
    rng = np.random.default_rng(0)
    rows = {one: np.flatnonzero(landmarks == one) for one in np.unique(landmarks)}
    drawn = []
    for _ in range(rounds):
        chosen = np.concatenate([rows[one] for one in rng.choice(list(rows), len(rows))])
        if positives[chosen].any():
            drawn.append(average_precision(values[chosen], positives[chosen]))
    return drawn


def _score(query: LocalFeatures, photo: LocalFeatures, *, settings: VerifyConfig) -> float:
    return verify_pair(query, photo, settings=settings).score


def _magsac(query: LocalFeatures, photo: LocalFeatures, *, settings: VerifyConfig) -> float:
    limit = 0.85 if settings.features == "sift" else 0.95
    pairs, ratios = match_mutual(query.descriptors, photo.descriptors)
    pairs = pairs[ratios < limit]
    return _count_inliers(query.xy_px[pairs[:, 0]], photo.xy_px[pairs[:, 1]], cv2.USAC_MAGSAC)


def _authors(query: LocalFeatures, photo: LocalFeatures, *, settings: VerifyConfig) -> float:  # noqa: ARG001
    if min(len(query.xy_px), len(photo.xy_px)) < 2:
        return 0.0
    trees = cv2.FlannBasedMatcher({"algorithm": 1, "trees": 5}, {"checks": 50})
    found = trees.knnMatch(query.descriptors, photo.descriptors, k=2)
    pairs = np.array([(a.queryIdx, a.trainIdx) for a, b in found if a.distance < 0.8 * b.distance], int).reshape(-1, 2)
    return _count_inliers(query.xy_px[pairs[:, 0]], photo.xy_px[pairs[:, 1]], cv2.RANSAC)


def _count_inliers(x: np.ndarray, y: np.ndarray, method: int) -> float:
    if len(x) < 4:
        return 0.0
    _, mask = cv2.findHomography(x, y, method, 5.0)
    return 0.0 if mask is None else float(mask.sum())


_METHODS: dict[str, Callable[..., float]] = {
    "score": _score,
    "mutual + MAGSAC, inliers": _magsac,
    "authors' recipe, inliers": _authors,
}


_BASELINES = tuple(_METHODS)[1:]


def _load_features(truth: Truth, settings: VerifyConfig, cache: Path | None) -> dict[tuple[str, str], LocalFeatures]:
    files = {name: cache / f"{settings.features}-{name}.npy" for name in FEATURE_ARRAYS} if cache else {}
    photos = [*truth.queries, *truth.photos]
    if not files or not all(file.is_file() for file in files.values()):
        extract = load_extractor(settings)
        start = time.process_time()
        arrays = pack_features(
            [
                extract(decode_photo(photo.path.read_bytes(), crop_px=photo.crop_px))
                for photo in track(photos, description="features")
            ]
        )
        print(f"features: {(time.process_time() - start) / len(photos):.2f} s of processor time a photo")
        for name, file in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, arrays[name])
    else:
        arrays = {name: np.load(file, mmap_mode="r") for name, file in files.items()}
    return {(photo.source, photo.image_id): unpack_features(arrays, row) for row, photo in enumerate(photos)}


def _compare_all(
    truth: Truth,
    features: dict[tuple[str, str], LocalFeatures],
    compare: Callable[[LocalFeatures, LocalFeatures], float],
    name: str,
) -> tuple[dict[Pair, float], float]:
    start = time.process_time()
    scores = {
        (query.source, query.image_id, photo.image_id): compare(
            features[query.source, query.image_id], features[photo.source, photo.image_id]
        )
        for query in track(truth.queries, description=name)
        for photo in truth.photos
    }
    return scores, time.process_time() - start


def _read_boxes(path: Path) -> dict[str, tuple[float, float, float, float]]:
    truth = read_plain_pickle(path, remedy="fetch the photo folder again")
    return {name: tuple(entry["bbx"]) for name, entry in zip(truth["qimlist"], truth["gnd"], strict=True)}


def _read_scores(path: Path) -> dict[Pair, float]:
    return {(row["evaluation_set"], row["query_id"], row["image_id"]): float(row["score"]) for row in _rows(path)}


def _write_scores(path: Path, truth: Truth, scores: dict[Pair, float]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["evaluation_set", "query_id", "image_id", "landmark_id", "score", "positive"])
        for query in truth.queries:
            for photo in truth.photos:
                key = (query.source, query.image_id, photo.image_id)
                writer.writerow([*key, photo.landmark_id, scores[key], int(truth.is_positive(query, photo))])


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos with queries.csv")
    parser.add_argument("--features", default="sift", choices=["sift", "aliked", "disk", "keynet"])
    parser.add_argument("--weights", type=Path, help="weights file of the features")
    parser.add_argument("--cache", type=Path, help="folder that keeps the features between runs")
    parser.add_argument("--verified", type=Path, help="a verified.csv of the pipeline to judge instead")
    parser.add_argument("--threshold", type=float, help="instead of the preset")
    parser.add_argument("--no-baselines", action="store_true", help="leave the plain baselines out")
    parser.add_argument("--out", type=Path, help="write every pair's score here")
    options = parser.parse_args(arguments)
    if options.out:
        make_folder(options.out.parent, parser)
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
