"""RootSIFT: local features without weights."""

import numpy as np

from overlap.base.images import Pixels, resize_to
from overlap.base.tables import FloatArray, LocalFeatures

_CONTRAST = 0.02
_EDGE = 12.0
_LARGEST_GROWTH = 3.0


def extract_root_sift(pixels: Pixels, *, keypoints: int, size_px: int) -> LocalFeatures:
    """Detect and describe the strongest SIFT keypoints.

    The photo is resized so that its longer side is ``size_px``, up as well as down (at most threefold): thumbnails
    give as many keypoints as large photos.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        keypoints: how many at most.
        size_px: longer side at which keypoints are detected.

    Returns:
        The features in pixels of the given photo; none for a picture without contrast.

    Source: Lowe, IJCV 2004; square root of the L1-normalised descriptor: Arandjelovic and Zisserman, CVPR 2012.
    """
    import cv2

    resized, scale = resize_to_longest(pixels, size_px)
    detector = cv2.SIFT.create(
        nfeatures=keypoints, contrastThreshold=_CONTRAST, edgeThreshold=_EDGE, enable_precise_upscale=True
    )
    found, descriptors = detector.detectAndCompute(cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY), None)
    if not found:
        return no_features(pixels, dimensions=128)
    frames = np.array([(*point.pt, point.size, point.angle, point.response) for point in found])
    order = np.lexsort((*frames.T[:4], -frames[:, 4]))[:keypoints]
    frames = frames[order]
    return LocalFeatures(
        xy_px=to_full_size(frames[:, :2], scale=scale, size_px=_size(pixels)),
        scales_px=(frames[:, 2] / scale).astype(np.float32),
        angles_deg=(frames[:, 3] % 360).astype(np.float32),
        responses=frames[:, 4].astype(np.float32),
        descriptors=_root(descriptors[order]),
        size_px=_size(pixels),
    )


def resize_to_longest(pixels: Pixels, size_px: int) -> tuple[Pixels, float]:
    """Resize a photo so that its longer side is ``size_px``, enlarging at most threefold; return the factor too."""
    width, height = _size(pixels)
    scale = min(size_px / max(width, height), _LARGEST_GROWTH)
    return resize_to(pixels, (round(width * scale), round(height * scale))), scale


def to_full_size(xy_px: np.ndarray, *, scale: float, size_px: tuple[int, int]) -> FloatArray:
    """Take (M, 2) positions in the resized photo back to the full size; pixel centres are at whole numbers."""
    full = (np.asarray(xy_px, np.float64) + 0.5) / scale - 0.5
    return np.clip(full, 0, np.array(size_px) - 1).astype(np.float32).reshape(-1, 2)


def no_features(pixels: Pixels, *, dimensions: int) -> LocalFeatures:
    """Return the features of a photo in which nothing was found."""
    none = np.zeros(0, np.float32)
    return LocalFeatures(
        np.zeros((0, 2), np.float32), none, none, none, np.zeros((0, dimensions), np.float32), _size(pixels)
    )


def _size(pixels: Pixels) -> tuple[int, int]:
    return pixels.shape[1], pixels.shape[0]


def _root(descriptors: np.ndarray) -> FloatArray:
    sums = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-12)
    root: FloatArray = np.sqrt(descriptors / sums).astype(np.float32)
    return root
