"""Decode photos ahead of their use, at the sizes that the descriptors want, and group photos of one shape.

A photo's shape is decided by its own size alone, so no result depends on which photos share a batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from overlap.base.errors import DataError
from overlap.base.images import PhotoLimits, Pixels, decode_photo, naming, read_bytes, read_header, resize_to

Item = TypeVar("Item")
Size: TypeAlias = tuple[int, int]

# Sides of network inputs are multiples of this, so that photos of nearly one shape share a batch; nets whose features
# are 32 times coarser need at least two cells a side.
GRID_PX = 16
LEAST_PX = 64
# Decoded photos waiting for their batch, in batches: what memory they may take.
_WAITING_BATCHES = 8


@dataclass(frozen=True)
class ScaledPhoto:
    """Hold one photo at every scale.

    Args:
        row: its position in the table it came from.
        pixels: one (H, W, 3) uint8 RGB array a scale.
    """

    row: int
    pixels: tuple[Pixels, ...]


@dataclass(frozen=True)
class UnreadablePhoto:
    """Name a photo that could not be read, and why."""

    row: int
    error: DataError


def load_scaled(
    row: Mapping[str, Any],
    *,
    size_px: int,
    scales: Sequence[float],
    limits: PhotoLimits,
    fit: Callable[[Size], Size] = lambda size: size,
) -> tuple[Pixels, ...]:
    """Read a photo, crop it to its box, and shrink it as its whole photo would be shrunk.

    The whole photo's longer side is brought down to ``size_px`` (smaller photos stay), times each scale; a query's crop
    is resized by that same factor, so that it keeps its scale relative to photos of the same place.

    Source: the resizing rule of the revisitop reference pipeline (Radenovic et al. 2018).

    Args:
        row: a row of IMAGES.
        fit: moves the width and height so found to those that are wanted; raises DataError where there are none.

    Returns:
        One (H, W, 3) uint8 RGB array a scale.

    Raises:
        DataError: the photo can't be read.
    """
    content = read_bytes(row, limits)
    box = row.get("crop_px")
    with naming(row):
        width, height, _ = read_header(content)
        pixels = decode_photo(content, crop_px=tuple(box) if box is not None else None, limits=limits)
        factor = min(1.0, size_px / max(width, height))
        sizes = [fit(_scaled_size(pixels, factor * scale)) for scale in scales]
    return tuple(_resize_to(pixels, size) for size in sizes)


def grid_shape(size_px: Size) -> Size:
    """Return the width and height, multiples of GRID_PX, that are nearest to a size."""
    width, height = (max(round(side / GRID_PX) * GRID_PX, LEAST_PX) for side in size_px)
    return width, height


def batch_by_shape(items: Iterable[tuple[Item, Size]], *, batch: int) -> Iterator[tuple[Size, list[Item]]]:
    """Group items of one shape, at most ``batch`` a group; when too many wait, the fullest group leaves early.

    Yields:
        A shape and its items in their order; every item exactly once.
    """
    groups: dict[Size, list[Item]] = {}
    n_waiting = 0
    for item, shape in items:
        groups.setdefault(shape, []).append(item)
        n_waiting += 1
        full = shape if len(groups[shape]) == batch else None
        if full is None and n_waiting >= _WAITING_BATCHES * batch:
            full = max(groups, key=lambda key: len(groups[key]))
        if full is not None:
            n_waiting -= len(groups[full])
            yield full, groups.pop(full)
    yield from groups.items()


def _scaled_size(pixels: Pixels, factor: float) -> Size:
    height, width = pixels.shape[:2]
    return max(round(width * factor), 1), max(round(height * factor), 1)


def _resize_to(pixels: Pixels, size_px: Size) -> Pixels:
    return pixels if size_px == (pixels.shape[1], pixels.shape[0]) else resize_to(pixels, size_px)
