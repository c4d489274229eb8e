"""Boxes of what an attention map picks out, and how well they meet other boxes.

Boxes are (x0, y0, x1, y1) in pixels of a photo.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Box: TypeAlias = tuple[float, float, float, float]
Map: TypeAlias = NDArray[np.floating]


def component_boxes(attention: Map, *, threshold: float, size_px: tuple[int, int]) -> list[Box]:
    """Return the boxes of the connected parts of a mask, those with most attention first.

    Source: arXiv 2404.01524, Figure 5: boxes of connected components of the mask. Cells that touch at a corner are
    connected.

    Args:
        attention: (h, w) in 0..1; the mask is where it reaches the threshold.
        size_px: width and height of the photo that the map covers.

    Returns:
        Whole cells' boxes; none where nothing reaches the threshold.
    """
    from scipy import ndimage

    height, width = attention.shape
    labels, number = ndimage.label(attention >= threshold, structure=np.ones((3, 3)))
    sums = ndimage.sum_labels(attention, labels, index=np.arange(1, number + 1))
    spans = ndimage.find_objects(labels)
    across, down = size_px[0] / width, size_px[1] / height
    return [
        (columns.start * across, rows.start * down, columns.stop * across, rows.stop * down)
        for rows, columns in (spans[place] for place in np.argsort(-np.atleast_1d(sums), kind="stable"))
    ]


def intersection_over_union(first: Box, second: Box) -> float:
    """Return the area that two boxes share over the area that they cover."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (_area(first) + _area(second) - shared)


def centre_box(size_px: tuple[int, int], *, share: float) -> Box:
    """Return the box in the photo's middle, of its shape and that share of its area."""
    side = float(np.sqrt(share))
    width, height = size_px
    x, y = width * (1 - side) / 2, height * (1 - side) / 2
    return (x, y, width - x, height - y)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
