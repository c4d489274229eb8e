"""Decode and extraction, photos a second, straight from a tar archive.

    python -m benchmarks extraction [--photos ROOT] [--extraction-photos 60]

Without ROOT the photos are generated pictures of 1,024 x 768 pixels. Everything runs on one core and is counted in
processor time, so that other work on the machine disturbs it little.
"""

import argparse
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.results import Result
from overlap.base.config import DescriptorsConfig, VerifyConfig
from overlap.base.images import PhotoLimits, decode_photo, encode_jpeg, load_photo, read_bytes, resize_to
from overlap.datasets.archives import index_archive
from overlap.descriptors.batches import load_scaled
from overlap.features.catalogue import extract_root_sift, load_extractor


def measure(options: argparse.Namespace) -> Iterator[Result]:
    """Measure reading, decoding, and what the pipeline does with a photo."""
    with tempfile.TemporaryDirectory(prefix="extraction-") as name:
        rows = write_archive(Path(name) / "images_000.tar", options)
        yield from _compare(rows)


def _compare(rows: list[dict[str, Any]]) -> Iterator[Result]:
    contents = [read_bytes(row) for row in rows]
    kinds: dict[str, tuple[list[Any], Callable[[Any], Any]]] = {
        "read from the archive": (rows, read_bytes),
        "decode": (contents, decode_photo),
        "read, decode, resize to 640": (rows, _load),
    }
    plain = _rate(contents, lambda content: cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR))
    for what, (items, work) in kinds.items():
        rate = _rate(items, work)
        yield Result(f"extraction: {what}", rate, "photos/s of a core", "cv2.imdecode", rate / plain)
    extract = load_extractor(VerifyConfig())
    features: dict[str, Callable[[Any], Any]] = {
        "SIFT features": lambda row: extract(load_photo(row)),
        "SIFT features at 640 px, as for VLAD": lambda row: extract_root_sift(*_load(row), keypoints=1000, size_px=640),
    }
    for what, work in features.items():
        rate = _rate(rows[:: max(len(rows) // 12, 1)], work)
        name = f"extraction: {what}, decoding included"
        yield Result(name, rate, "photos/s of a core", "cv2.imdecode", rate / plain)
    half, difference = _compare_reduced(contents)
    note = f"not used: after resizing, pixels differ by {difference:.1f} of 255 on average from decoding in full"
    yield Result("extraction: decode at half size", half, "photos/s of a core", "cv2.imdecode", half / plain, note)


def _load(row: dict[str, Any]) -> Any:
    settings = DescriptorsConfig()
    return load_scaled(row, size_px=settings.size_px, scales=(1.0,), limits=PhotoLimits())


def _compare_reduced(contents: list[bytes]) -> tuple[float, float]:
    """Return how fast photos decode at half size, and how far their pixels then are from those of the whole."""

    def reduced(content: bytes) -> np.ndarray:
        return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_REDUCED_COLOR_2))[:, :, ::-1]

    differences = []
    for content in contents[:20]:
        half = reduced(content)
        whole = resize_to(decode_photo(content), (half.shape[1], half.shape[0]))
        if half.shape == whole.shape:
            differences.append(np.abs(half.astype(int) - whole).mean())
    return _rate(contents, reduced), float(np.mean(differences)) if differences else float("nan")


def _rate(items: list[Any], work: Callable[[Any], Any]) -> float:
    work(items[0])
    began = time.process_time()
    for item in items:
        work(item)
    return len(items) / max(time.process_time() - began, 1e-9)


def write_archive(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Write photos into an archive and return what IMAGES says of each that is needed to read it."""
    with tarfile.open(path, "w") as archive:
        for photo in _photos(path.parent, options):
            archive.add(photo, arcname=photo.name)
    return [
        {**row, "archive": str(path), "path": row["image_id"], "crop_px": None}
        for row in index_archive(path).to_pylist()
    ]


def _photos(folder: Path, options: argparse.Namespace) -> list[Path]:
    if options.photos:
        return sorted((options.photos / "gldv2" / "train").rglob("*.jpg"))[: options.extraction_photos]
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:016x}.jpg" for number in range(options.extraction_photos)]
    for path in paths:
        small = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
        path.write_bytes(encode_jpeg(resize_to(small, (1024, 768)), quality=90))
    return paths
