"""Measure how well each global descriptor ranks the photos of overlapping landmarks.

    python benchmarks/descriptors.py --photos ROOT [--program NETWORK.pt2]

ROOT holds ``gldv2/``, evaluation sets in the revisited layout, and ``queries.csv`` with the columns evaluation_set,
query_id and overlapping_landmark_ids (blank-separated). A row of the table is the mean over the queries that have an
overlapping landmark: recall at k, and average precision over all photos.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from overlap.base.config import DescriptorsConfig, EvaluationConfig, TrainConfig
from overlap.base.images import PhotoLimits, Pixels
from overlap.base.tables import FloatArray
from overlap.datasets.catalogue import read_evaluation_set, read_training_set
from overlap.descriptors.batches import load_scaled
from overlap.descriptors.exported import load_exported
from overlap.descriptors.extract import Described, describe_batches, describe_photos
from overlap.descriptors.vlad import encode_vlad, train_vlad
from overlap.features.sift import extract_root_sift
from overlap.search.exact import search_exact

KS = (1, 5, 10, 20, 50)
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Truth:
    """Hold the photos, the queries and which photos each query should find."""

    photos: Rows
    queries: Rows
    positives: dict[str, set[str]]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="the folder with gldv2/ and queries.csv")
    parser.add_argument("--program", type=Path, help="a .pt2 network to measure too")
    arguments = parser.parse_args()
    truth = read_truth(arguments.photos)
    print(f"{len(truth.queries)} queries, {len(truth.photos)} photos")
    print("| descriptor | D | " + " | ".join(f"R@{k}" for k in KS) + " | AP | ms a photo |")
    print("|---" * (len(KS) + 4) + "|")
    for name, describe in list_descriptors(arguments.program):
        print_row(name, describe, truth)


def read_truth(root: Path) -> Truth:
    """Read the photos and the queries that have an overlapping landmark."""
    with (root / "queries.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["overlapping_landmark_ids"].strip()]
    photos = read_training_set(TrainConfig(format="gldv2", root=root / "gldv2")).images.to_pylist()
    names = sorted({line["evaluation_set"] for line in lines})
    sets = [read_evaluation_set(EvaluationConfig(format="revisited", name=name, root=root / name)) for name in names]
    positives = {
        line["query_id"]: {
            row["image_id"] for row in photos if str(row["landmark_id"]) in line["overlapping_landmark_ids"].split()
        }
        for line in lines
    }
    queries = [row for found in sets for row in found.queries.to_pylist() if row["image_id"] in positives]
    return Truth(photos, queries, positives)


def list_descriptors(program: Path | None) -> Iterator[tuple[str, Callable[[Rows, Rows], Described]]]:
    """Yield a name and a function of (photos to learn from, photos to describe)."""
    for size_px, vocabulary, dimensions in ((640, 64, 512), (640, 128, 512), (640, 64, 24), (480, 64, 512)):
        settings = DescriptorsConfig(size_px=size_px, vocabulary=vocabulary, dimensions=dimensions)
        yield f"vlad, {size_px} px, {vocabulary} words, at most {dimensions}", vlad(settings)
    if program:
        for size_px, scales in ((480, (1.0,)), (640, (1.0,)), (480, (0.7071, 1.0, 1.4142)), (1024, (1.0,))):
            settings = DescriptorsConfig(size_px=size_px, scales=scales)
            yield f"{program.stem}, {size_px} px, scales {' '.join(map(str, scales))}", exported(settings, program)


def vlad(settings: DescriptorsConfig) -> Callable[[Rows, Rows], Described]:
    """Return VLAD as a function of (photos to learn from, photos to describe); it learns once."""
    trained = None

    def describe(sample: Rows, rows: Rows) -> Described:
        nonlocal trained
        trained = trained or train_vlad(map(load_features, sample), settings=settings)
        return describe_photos(rows, embed=lambda pixels: encode_vlad(trained, root_sift(pixels)), settings=settings)

    def load_features(row: dict[str, Any]) -> FloatArray:
        (pixels,) = load_scaled(row, size_px=settings.size_px, scales=(1.0,), limits=PhotoLimits())
        return root_sift(pixels)

    return describe


def root_sift(pixels: Pixels) -> FloatArray:
    """Return at most 1,000 RootSIFT descriptors of a photo at its size."""
    return extract_root_sift(pixels, keypoints=1000, size_px=max(pixels.shape)).descriptors


def exported(settings: DescriptorsConfig, program: Path) -> Callable[[Rows, Rows], Described]:
    """Return a .pt2 program as a function of (photos to learn from, photos to describe)."""
    network = load_exported(program)
    return lambda sample, rows: describe_batches(rows, network=network, settings=settings)


def print_row(name: str, describe: Callable[[Rows, Rows], Described], truth: Truth) -> None:
    """Describe queries and photos, rank, and print one line of the table."""
    queries = describe(truth.photos, truth.queries).descriptors
    started = time.perf_counter()
    photos = describe(truth.photos, truth.photos).descriptors
    milliseconds = 1000 * (time.perf_counter() - started) / len(truth.photos)
    ranked = search_exact(queries, [photos], k=len(photos.image_ids)).image_ids
    hits = [
        np.array([image_id in truth.positives[query] for image_id in ids])
        for query, ids in zip(queries.image_ids, ranked, strict=True)
    ]
    recalls = [np.mean([row[:k].sum() / row.sum() for row in hits]) for k in KS]
    ap = np.mean([np.mean((np.arange(row.sum()) + 1) / (np.flatnonzero(row) + 1)) for row in hits])
    cells = [name, str(photos.vectors.shape[1]), *(f"{value:.3f}" for value in (*recalls, ap)), f"{milliseconds:.0f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
