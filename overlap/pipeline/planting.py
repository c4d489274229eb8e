"""Evaluation photos that are changed as people change photos, to see whether they would be found."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from overlap.base.config import Config
from overlap.base.images import Pixels, encode_jpeg, load_photo, resize_within
from overlap.base.store import read_json, write_json
from overlap.base.tables import IMAGES, as_table
from overlap.pipeline.photos import Sets, find_probes
from overlap.pipeline.run import Run
from overlap.pipeline.shards import Done, Row, Shard, run_photos, store_each


def _cut_centre(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    top, left = round(0.15 * height), round(0.15 * width)
    return encode_jpeg(pixels[top : height - top, left : width - left])


# What is done to a planted photo; a mirrored one is nobody's copy.
PLANTINGS: Mapping[str, Callable[[Pixels], bytes]] = MappingProxyType(
    {
        "recompressed": lambda pixels: encode_jpeg(pixels, quality=30),
        "half the size": lambda pixels: encode_jpeg(resize_within(pixels, max(pixels.shape[:2]) // 2)),
        "centre 70 %": _cut_centre,
    }
)


def choose_photos(config: Config, sets: Sets, n_photos: int) -> list[dict[str, Any]]:
    """Draw photos that are searched for, with audit.seed; rows of IMAGES, whole."""
    rows = [row for evaluation in sets.evaluations for row in find_probes(config, evaluation).to_pylist()]
    chosen = np.random.default_rng(config.audit.seed).permutation(len(rows))[:n_photos]
    return [{**rows[place], "crop_px": None} for place in sorted(chosen.tolist())]


def plant_photos(run: Run, rows: Sequence[dict[str, Any]]) -> dict[str, pa.Table]:
    """Return IMAGES of the changed photos by kind; the image_id is the number of the photo among the chosen."""
    images = as_table(list(rows), IMAGES)
    shards = run_photos(run, "planted", images, _store_planted, settings=None, label="planted photos")
    planted: dict[str, list[dict[str, Any]]] = {kind: [] for kind in PLANTINGS}
    first = 0
    for shard in shards:
        folder = run.store.get(shard.step, shard.fingerprint)
        done: Any = read_json(folder, "photos")
        for place in done:
            for number, kind in enumerate(PLANTINGS):
                path = folder / _file_name(place, number)
                planted[kind].append(_image_row(str(first + place), path, f"{shard.fingerprint}/{path.name}"))
        first += shard.size
    return {kind: as_table(found, IMAGES) for kind, found in planted.items()}


def _image_row(image_id: str, path: Path, stamp: str) -> dict[str, Any]:
    nothing = dict.fromkeys(name for name in IMAGES.names if IMAGES.field(name).nullable)
    return {**nothing, "image_id": image_id, "source": "planted", "path": str(path), "stamp": stamp}


def _file_name(place: int, number: int) -> str:
    return f"{place:06}-{number}.jpg"


def _store_planted(shard: Shard) -> str:
    limits = shard.work.limits

    def change(row: Row) -> list[bytes]:
        pixels = load_photo(row, limits=limits)
        return [change(pixels) for change in PLANTINGS.values()]

    return store_each(shard, change, _write_planted)


def _write_planted(folder: Path, done: Done[list[bytes]]) -> None:
    for place, pictures in done.made.items():
        for number, content in enumerate(pictures):
            (folder / _file_name(place, number)).write_bytes(content)
    write_json(folder, "photos", list(done.made))
