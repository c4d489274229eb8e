"""Copies of a photo by a perceptual hash: 64 bits that outlast compression and resizing, and little else.

A bit says whether one of the 64 lowest frequencies of the photo, shrunk to 32 x 32 grey pixels, is above their median.

Source: Zauner 2010, "Implementation and benchmarking of perceptual image hash functions", section 3.2.1; with the mean
of the photo among the frequencies, as the library ImageHash has it.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from overlap.base.images import PhotoLimits, Pixels, decode_brightness, load_photo, naming, read_bytes
from overlap.search.exact import Neighbours, as_neighbours

BITS = 64
_SIDE_PX = 32
_FREQUENCIES = 8
# Coefficients that differ by less differ by rounding alone: those of a photo without contrast are all 0.
_DECIMALS = 6

Codes = NDArray[np.uint64]


@dataclass(frozen=True)
class Hashes:
    """Hold hashes with the ids they belong to; an id may have several.

    Args:
        image_ids: N ids, hash by hash.
        codes: (N,) uint64.
    """

    image_ids: list[str]
    codes: Codes


def hash_photo(row: Mapping[str, Any], limits: PhotoLimits = PhotoLimits()) -> int:
    """Return the hash of a photo, cut to its box where it has one.

    Args:
        row: a row of IMAGES.

    Raises:
        DataError: the photo can't be read.
    """
    if row["crop_px"] is not None:
        import cv2

        return hash_brightness(np.asarray(cv2.cvtColor(load_photo(row, limits=limits), cv2.COLOR_RGB2GRAY), np.uint8))
    content = read_bytes(row, limits)
    with naming(row):
        return hash_brightness(decode_brightness(content, least_px=2 * _SIDE_PX, limits=limits))


def hash_brightness(brightness: Pixels) -> int:
    """Return the hash of a grey picture, (H, W) uint8; the lowest frequency is its highest bit."""
    import cv2

    small = cv2.resize(brightness, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float64)
    waves = _waves()
    coefficients = np.round(waves @ small @ waves.T, _DECIMALS).ravel()
    bits = coefficients > np.median(coefficients)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def search_copies(probes: Hashes, photos: Hashes, *, bits: int, k: int) -> tuple[list[str], Neighbours]:
    """Find the photos whose hash differs from one of a probe's hashes in at most so many bits.

    Args:
        bits: the most bits that differ.
        k: how many photos a probe gets at most, the nearest ones.

    Returns:
        The probes' ids, each once, and their photos, whose similarity is the share of equal bits.
    """
    own: dict[str, list[np.uint64]] = defaultdict(list)
    for image_id, code in zip(probes.image_ids, probes.codes, strict=True):
        own[image_id].append(code)
    found = []
    for codes in own.values():
        distances = least_distances(np.array(codes, np.uint64), photos.codes)
        near = np.flatnonzero(distances <= bits)
        pairs = zip((distances[near] / BITS - 1).tolist(), (photos.image_ids[row] for row in near), strict=True)
        found.append(sorted(pairs)[:k])
    return list(own), as_neighbours(found)


def least_distances(codes: Codes, photos: Codes) -> NDArray[np.uint8]:
    """Return in how many bits each photo's hash (N,) differs from the nearest of the given ones (M,), M at least 1."""
    distances: NDArray[np.uint8] = np.bitwise_count(photos ^ codes[0])
    for code in codes[1:]:
        np.minimum(distances, np.bitwise_count(photos ^ code), out=distances)
    return distances


@lru_cache(maxsize=1)
def _waves() -> NDArray[np.float64]:
    """Return the (8, 32) lowest rows of the orthonormal cosine transform (DCT-II)."""
    places = (2 * np.arange(_SIDE_PX) + 1) * np.pi / (2 * _SIDE_PX)
    waves = np.cos(np.outer(np.arange(_FREQUENCIES), places)) * np.sqrt(2 / _SIDE_PX)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves)
