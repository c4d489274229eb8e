"""Verification by pycolmap alone, beside ours, on a sample of the pairs of a folder of real photos.

    python -m benchmarks colmap --photos ROOT --colmap-pairs 60

pycolmap extracts SIFT, matches and estimates two-view geometry with its defaults and scores a pair by its inliers; it
reads the photos as PNG files, queries cut to their boxes. A third of the pairs are true ones, far more than in reality,
so average precision is only for comparing the two. Everything runs on one core and is counted in processor time;
features are computed beforehand.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.results import Result
from benchmarks.verification import Photo, Truth, average_precision, read_truth
from overlap.base.config import VerifyConfig
from overlap.base.images import decode_photo
from overlap.features.catalogue import load_extractor
from overlap.verify.pairs import verify_pair

_SETTINGS = VerifyConfig()
_PEER = "pycolmap alone"
PhotoPair = tuple[Photo, Photo]


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Score the drawn pairs both ways."""
    truth = read_truth(options.photos)
    pairs, positive = _draw(truth, options.colmap_pairs)
    photos = list(dict.fromkeys(one for pair in pairs for one in pair))
    with tempfile.TemporaryDirectory(prefix="colmap-") as folder:
        theirs = _score_colmap(Path(folder), photos, pairs)
    ours = _score(photos, pairs)
    note = f"{len(pairs)} pairs, {positive.sum()} of them true"
    rates = [len(pairs) / seconds for _, seconds in (ours, theirs)]
    yield Result(
        "verification: pairs a second of a core, a sample",
        rates[0],
        "pairs/s",
        _PEER,
        rates[0] / rates[1],
        f"{note}; peer {rates[1]:.2f} pairs/s, up to 8,192 features a photo, ours 2,048",
    )
    ap = [average_precision(scores, positive) for scores, _ in (ours, theirs)]
    note = f"{note}; peer {ap[1]:.3f}"
    yield Result("verification: average precision, a sample", ap[0], "AP", _PEER, ap[0] / ap[1], note)


def _draw(truth: Truth, n_pairs: int) -> tuple[list[PhotoPair], np.ndarray]:
    rng = np.random.default_rng(0)
    every = [(query, photo) for query in truth.queries for photo in truth.photos]
    positive = np.array([truth.is_positive(*pair) for pair in every])
    n_true = n_pairs // 3
    rows = [
        *rng.choice(np.flatnonzero(positive), n_true, replace=False),
        *rng.choice(np.flatnonzero(~positive), n_pairs - n_true, replace=False),
    ]
    return [every[row] for row in sorted(rows)], positive[sorted(rows)]


def _score(photos: Sequence[Photo], pairs: Sequence[PhotoPair]) -> tuple[np.ndarray, float]:
    extract = load_extractor(_SETTINGS)
    features = {one: extract(_read(one)) for one in photos}
    began = time.process_time()
    scores = [verify_pair(features[query], features[photo], settings=_SETTINGS).score for query, photo in pairs]
    return np.array(scores), time.process_time() - began


def _score_colmap(folder: Path, photos: Sequence[Photo], pairs: Sequence[PhotoPair]) -> tuple[np.ndarray, float]:
    import pycolmap

    names = {one: f"{row}.png" for row, one in enumerate(photos)}
    (folder / "photos").mkdir()
    for one, name in names.items():
        cv2.imwrite(str(folder / "photos" / name), cv2.cvtColor(_read(one), cv2.COLOR_RGB2BGR))
    extraction = pycolmap.FeatureExtractionOptions()
    extraction.num_threads = 1
    pycolmap.extract_features(folder / "all.db", folder / "photos", extraction_options=extraction)
    lines = [f"{names[query]} {names[photo]}" for query, photo in pairs]
    (folder / "pairs.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = 1
    pairing = pycolmap.ImportedPairingOptions()
    pairing.match_list_path = folder / "pairs.txt"
    geometry = pycolmap.TwoViewGeometryOptions()
    geometry.ransac.random_seed = 0
    began = time.process_time()
    pycolmap.match_image_pairs(folder / "all.db", matching, pairing, geometry)
    seconds = time.process_time() - began
    return _count_inliers(pycolmap.Database.open(folder / "all.db"), names, pairs), seconds


def _count_inliers(database: Any, names: dict[Photo, str], pairs: Sequence[PhotoPair]) -> np.ndarray:
    ids = {image.name: image.image_id for image in database.read_all_images()}
    found = [
        database.read_two_view_geometry(ids[names[query]], ids[names[photo]])
        if database.exists_two_view_geometry(ids[names[query]], ids[names[photo]])
        else None
        for query, photo in pairs
    ]
    return np.array([0.0 if one is None else float(len(one.inlier_matches)) for one in found])


def _read(photo: Photo) -> np.ndarray:
    return decode_photo(photo.path.read_bytes(), crop_px=photo.crop_px)
