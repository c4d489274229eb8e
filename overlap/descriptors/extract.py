"""Describe photos: read, crop, resize, embed at every scale, average."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from overlap.base.config import DescriptorsConfig
from overlap.base.devices import choose_device
from overlap.base.errors import ConfigError, DataError
from overlap.base.images import PhotoLimits, Pixels
from overlap.base.tables import QUARANTINE, Descriptors, FloatArray, as_table
from overlap.base.threads import map_ahead
from overlap.descriptors.batches import (
    ScaledPhoto,
    Size,
    UnreadablePhoto,
    batch_by_shape,
    grid_shape,
    load_scaled,
)

if TYPE_CHECKING:
    from torch import Tensor

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Described:
    """Hold what became of some photos.

    Args:
        descriptors: (N, D) float16 unit rows of the readable photos, in the photos' order; (0, 0) when there is none.
        quarantine: QUARANTINE rows of the others.
        refused: the others, with their errors.
    """

    descriptors: Descriptors
    quarantine: pa.Table
    refused: tuple[UnreadablePhoto, ...]


def describe_photos(
    rows: Sequence[Row],
    *,
    embed: Callable[[Pixels], FloatArray],
    settings: DescriptorsConfig,
    limits: PhotoLimits = PhotoLimits(),
    workers: int = 1,
) -> Described:
    """Describe photos one by one, with a function of pixels such as VLAD over local features.

    A photo is cropped to its box, resized (see load_scaled), embedded at every scale; the mean of the scales' unit
    vectors, scaled to length 1, is its descriptor.

    Args:
        rows: rows of IMAGES.
        embed: maps (H, W, 3) uint8 RGB to a vector of D numbers; called from ``workers`` threads.
        settings: ``size_px`` and ``scales`` are used.
        workers: number of threads; the result doesn't depend on it.
    """

    def describe(photo: tuple[int, Row]) -> tuple[int, FloatArray] | UnreadablePhoto:
        scaled = _load(photo, settings, limits)
        if isinstance(scaled, UnreadablePhoto):
            return scaled
        return scaled.row, _mean_unit([embed(pixels) for pixels in scaled.pixels])

    results = list(map_ahead(describe, enumerate(rows), workers=workers))
    bad = [result for result in results if isinstance(result, UnreadablePhoto)]
    return _collect(rows, dict(result for result in results if not isinstance(result, UnreadablePhoto)), bad)


def describe_batches(
    rows: Sequence[Row],
    *,
    network: Callable[["Tensor"], "Tensor"],
    settings: DescriptorsConfig,
    limits: PhotoLimits = PhotoLimits(),
    workers: int = 2,
    fit: Callable[[Size], Size] = grid_shape,
) -> Described:
    """Describe photos by a network, in batches of photos of one shape, reading ahead in threads.

    As describe_photos; besides, every photo is resized to what ``fit`` makes of its size, a shape decided by its own
    size alone. On CUDA the batches are channels-last and the network runs in ``settings.precision``; on a CPU
    always in float32.

    Args:
        rows: rows of IMAGES.
        network: maps RGB photos in 0..1, (B, 3, H, W) on ``settings.device``, to (B, D) rows.
        settings: ``size_px``, ``scales``, ``batch``, ``device`` and ``precision`` are used.
        workers: number of reading threads; the result doesn't depend on it.
        fit: moves the width and height to those that the network takes; by default to multiples of 16 pixels.

    Raises:
        ConfigError: the network fails on a batch, or its output is not finite.
    """

    def load(photo: tuple[int, Row]) -> ScaledPhoto | UnreadablePhoto:
        return _load(photo, settings, limits, fit=fit)

    parts: dict[int, dict[int, FloatArray]] = {}
    bad: list[UnreadablePhoto] = []
    loaded = map_ahead(load, enumerate(rows), workers=workers)
    for _, photos in batch_by_shape(_flatten(loaded, bad), batch=settings.batch):
        found = _embed_batch(network, np.stack([photo.pixels for photo in photos]), settings)
        for photo, vector in zip(photos, found, strict=True):
            parts.setdefault(photo.row, {})[photo.scale] = vector
    vectors = {row: _mean_unit([part[scale] for scale in sorted(part)]) for row, part in parts.items()}
    bad += [
        UnreadablePhoto(row, _refuse_zeros(rows[row])) for row, vector in sorted(vectors.items()) if not vector.any()
    ]
    return _collect(rows, {row: vector for row, vector in vectors.items() if vector.any()}, bad)


@dataclass(frozen=True)
class _OneScale:
    row: int
    scale: int
    pixels: Pixels


def _keep(size_px: Size) -> Size:
    return size_px


def _load(
    photo: tuple[int, Row], settings: DescriptorsConfig, limits: PhotoLimits, *, fit: Callable[[Size], Size] = _keep
) -> ScaledPhoto | UnreadablePhoto:
    number, row = photo
    try:
        pixels = load_scaled(row, size_px=settings.size_px, scales=settings.scales, limits=limits, fit=fit)
        return ScaledPhoto(number, pixels)
    except DataError as error:
        return UnreadablePhoto(number, error)


def _flatten(
    loaded: Iterable[ScaledPhoto | UnreadablePhoto], bad: list[UnreadablePhoto]
) -> Iterator[tuple[_OneScale, Size]]:
    """Yield every scale of every photo with its shape; unreadable photos go to ``bad``."""
    for photo in loaded:
        if isinstance(photo, UnreadablePhoto):
            bad.append(photo)
            continue
        for scale, pixels in enumerate(photo.pixels):
            yield _OneScale(photo.row, scale, pixels), (pixels.shape[1], pixels.shape[0])


def _embed_batch(network: Callable[["Tensor"], "Tensor"], pixels: Pixels, settings: DescriptorsConfig) -> FloatArray:
    """Return (B, D) float32 unit rows for (B, H, W, 3) uint8 pixels."""
    import torch

    device = choose_device(settings.device, key="descriptors.device")
    # (B, H, W, 3) seen as (B, 3, H, W) is channels-last already, which CUDA wants and a CPU may not.
    batch = torch.from_numpy(pixels)
    batch = batch.pin_memory().to(device, non_blocking=True) if device == "cuda" else batch
    batch = batch.permute(0, 3, 1, 2)
    batch = batch if device == "cuda" else batch.contiguous()
    precision = getattr(torch, settings.precision)
    mixed = device == "cuda" and precision is not torch.float32
    try:
        with torch.inference_mode(), torch.autocast(device, dtype=precision if mixed else None, enabled=mixed):
            vectors = network(batch.float() / 255).float().cpu().numpy()
    except ConfigError:
        raise
    except Exception as error:  # whatever a user's exported program raises
        raise ConfigError(
            f"the network failed on a batch of shape {tuple(batch.shape)}: {type(error).__name__}: "
            f"{str(error).strip()[:300]}; it must take (B, 3, H, W) of any B, H and W"
        ) from error
    if vectors.shape[:1] != pixels.shape[:1] or vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise ConfigError(
            f"the network must return finite numbers of shape ({len(pixels)}, D), got shape {vectors.shape}"
            + ("" if np.isfinite(vectors).all() else " with infinite or undefined values")
        )
    return _unit(vectors)


def _refuse_zeros(row: Row) -> DataError:
    return DataError(
        f"{row['path']}: the network gives zeros only, which are like no photo; look at it, or take another network"
    )


def _collect(rows: Sequence[Row], vectors: Mapping[int, FloatArray], bad: Sequence[UnreadablePhoto]) -> Described:
    kept = sorted(vectors)
    stacked = np.stack([vectors[row] for row in kept]) if kept else np.zeros((0, 0))
    refused = [
        {**{name: rows[photo.row][name] for name in ("image_id", "source", "path")}, "reason": str(photo.error)}
        for photo in bad
    ]
    return Described(
        Descriptors([str(rows[row]["image_id"]) for row in kept], stacked.astype(np.float16)),
        as_table(refused, QUARANTINE),
        tuple(bad),
    )


def _mean_unit(vectors: Sequence[FloatArray]) -> FloatArray:
    return _unit(np.sum([_unit(np.asarray(vector, dtype=np.float32)) for vector in vectors], axis=0))


def _unit(rows: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)
