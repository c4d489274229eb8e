"""Local features as a few flat arrays, small enough to keep for a whole training set.

Descriptors are rounded to a grid whose step is a power of two, RootSIFT to 1/256 in one byte, learned ones to 1/2048 in
half precision. On these grids every dot product of two unit rows is exact in float32, whatever the order of the sum:
matching gives the same result on any number of threads and with any linear algebra library.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from overlap.base.tables import LocalFeatures

FEATURE_ARRAYS = ("offsets", "sizes_px", "xy_px", "scales_px", "angles_deg", "responses", "descriptors")

_BYTE_STEPS = 256
_HALF_STEPS = 2048


def pack_features(features: Sequence[LocalFeatures]) -> dict[str, NDArray[np.generic]]:
    """Pack the features of N photos with M keypoints together.

    Args:
        features: all of the same kind; descriptors without a negative value are stored as bytes.

    Returns:
        The arrays named by FEATURE_ARRAYS: offsets (N + 1,) int64, sizes_px (N, 2) int32, xy_px (M, 2) float32,
        scales_px, angles_deg, responses (M,) float32, descriptors (M, D) uint8 or float16.
    """
    counts = [len(one.xy_px) for one in features]
    return {
        "offsets": np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64),
        "sizes_px": np.array([one.size_px for one in features], np.int32).reshape(-1, 2),
        "xy_px": _join([one.xy_px for one in features], np.zeros((0, 2), np.float32)),
        "scales_px": _join([one.scales_px for one in features], np.zeros(0, np.float32)),
        "angles_deg": _join([one.angles_deg for one in features], np.zeros(0, np.float32)),
        "responses": _join([one.responses for one in features], np.zeros(0, np.float32)),
        "descriptors": _round(_join([one.descriptors for one in features], np.zeros((0, 128), np.float32))),
    }


def unpack_features(arrays: Mapping[str, NDArray[np.generic]], row: int) -> LocalFeatures:
    """Return the features of one packed photo, descriptors on their grid: close to unit rows, not exactly.

    Args:
        arrays: what pack_features gave, memory-mapped or not.
        row: the photo's place, from 0.
    """
    start, end = (int(place) for place in arrays["offsets"][row : row + 2])
    width, height = (int(side) for side in arrays["sizes_px"][row])
    stored = arrays["descriptors"][start:end]
    steps = _BYTE_STEPS if stored.dtype == np.uint8 else 1
    return LocalFeatures(
        xy_px=np.array(arrays["xy_px"][start:end], np.float32),
        scales_px=np.array(arrays["scales_px"][start:end], np.float32),
        angles_deg=np.array(arrays["angles_deg"][start:end], np.float32),
        responses=np.array(arrays["responses"][start:end], np.float32),
        descriptors=np.array(stored, np.float32) / np.float32(steps),
        size_px=(width, height),
    )


def round_features(features: LocalFeatures) -> LocalFeatures:
    """Return the features as they would come back from storage, so that a cache changes no result."""
    return unpack_features(pack_features([features]), 0)


def _join(parts: list[NDArray[np.float32]], nothing: NDArray[np.float32]) -> NDArray[np.float32]:
    filled = [part for part in parts if len(part)]
    return np.concatenate(filled).astype(np.float32) if filled else nothing


def _round(descriptors: NDArray[np.float32]) -> NDArray[np.generic]:
    if descriptors.size == 0 or descriptors.min() >= 0:
        return np.clip(np.rint(descriptors * _BYTE_STEPS), 0, 255).astype(np.uint8)
    return (np.rint(descriptors * _HALF_STEPS) / _HALF_STEPS).astype(np.float16)
