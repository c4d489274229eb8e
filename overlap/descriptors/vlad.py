"""Describe a photo without any learned weights: local features, summed up word by word, whitened.

A vocabulary of V words is trained on local features (k-means). A photo's raw vector holds, for every word, the sum of
the unit residuals of the features nearest to it, square-rooted and normalised word by word. PCA learned on a sample of
photos turns that into D numbers.

Source: Jegou et al. 2010 (VLAD); Delhumeau et al. 2013 (residual normalisation, power law); Arandjelovic and Zisserman
2013 (normalisation by word); Jegou and Chum 2012 (whitening, several vocabularies). Ours: whitening goes as far as the
sample supports, see ``_whiten``; the last coordinate marks photos without features.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from overlap.base.config import DescriptorsConfig
from overlap.base.errors import ArtifactError, DataError
from overlap.base.store import read_array, write_array
from overlap.base.tables import FloatArray

_VOCABULARIES = 4
_ITERATIONS = 20
# k-means sees this many features a word at most, and makes no word of fewer than a few.
_FEATURES_PER_WORD = 256
_LEAST_PER_WORD = 4
# Directions kept: one for so many photos, but no fewer than a handful where the sample is tiny.
_PHOTOS_PER_DIRECTION = 3
_LEAST_DIRECTIONS = 32
_NO_VARIANCE = 1e-7


@dataclass(frozen=True)
class Vlad:
    """Hold what training found.

    Args:
        words: (S, V, L) float32 vocabularies of V words, S of them, for local descriptors of L numbers.
        mean: (S * V * L,) float32 mean raw vector of the sample.
        projection: (S * V * L, D - 1) float32 whitening directions, strongest first.
    """

    words: FloatArray
    mean: FloatArray
    projection: FloatArray

    @property
    def dimensions(self) -> int:
        """Return D, the size of a descriptor."""
        return int(self.projection.shape[1]) + 1


def train_vlad(samples: Iterable[FloatArray], *, settings: DescriptorsConfig) -> Vlad:
    """Train vocabulary and whitening on the local descriptors of some photos.

    The words are the same whatever the number of threads. A thousand photos are plenty; all are held in memory.

    Args:
        samples: one (M, L) array of local descriptors (RootSIFT: L = 128, unit rows) a photo.
        settings: ``vocabulary`` is V, ``dimensions`` the most that D may be, ``seed`` starts k-means. Small samples
            give fewer words, and fewer dimensions: about a third of the number of photos.

    Raises:
        DataError: fewer than two photos have features, or all photos look the same.
    """
    photos = [np.asarray(sample, dtype=np.float32) for sample in samples if len(sample)]
    if len(photos) < 2:
        raise DataError(
            f"VLAD needs at least 2 photos with local features to learn from, found {len(photos)}; "
            'use more photos, or descriptors.kind = "exported" with a network'
        )
    features = np.concatenate(photos)
    size = min(settings.vocabulary, max(1, len(features) // _LEAST_PER_WORD))
    with threadpool_limits(1):  # several threads sum in an order of their own, each time another one
        words = np.stack([_train_words(features, size, seed=settings.seed + row) for row in range(_VOCABULARIES)])
        raw = np.stack([aggregate(words, photo) for photo in photos])
        mean = raw.mean(axis=0)
        return Vlad(words, mean, _whiten(raw - mean, dimensions=max(settings.dimensions - 1, 1)))


def encode_vlad(vlad: Vlad, descriptors: FloatArray) -> FloatArray:
    """Describe a photo by its local descriptors.

    Args:
        descriptors: (M, L) local descriptors; M may be 0.

    Returns:
        (D,) float32 of length 1. The last coordinate is 0; for a photo without features it is 1 and all others are 0,
        so that its similarity is exactly 0 to every photo with features.
    """
    vector = np.zeros(vlad.dimensions, dtype=np.float32)
    if len(descriptors):
        centred = aggregate(vlad.words, descriptors) - vlad.mean
        vector[:-1] = _unit(np.asarray(centred @ vlad.projection, dtype=np.float32))
    if not vector.any():
        vector[-1] = 1
    return vector


def aggregate(words: FloatArray, descriptors: FloatArray) -> FloatArray:
    """Sum unit residuals by word, take square roots, normalise by word and as a whole.

    Args:
        words: (S, V, L) vocabularies.
        descriptors: (M, L) local descriptors, M at least 1.

    Returns:
        (S * V * L,) float32 raw vector, length 1 (or 0 when every feature is exactly a word).
    """
    return _unit(np.concatenate([_aggregate_one(vocabulary, descriptors) for vocabulary in words]))


def save_vlad(folder: Path, vlad: Vlad) -> None:
    """Write into a draft folder of the store."""
    for name in ("words", "mean", "projection"):
        write_array(folder, f"vlad_{name}", getattr(vlad, name))


def load_vlad(folder: Path) -> Vlad:
    """Read what save_vlad wrote.

    Raises:
        ArtifactError: a file is missing or damaged, or the files don't belong together.
    """
    words, mean, projection = (
        np.asarray(read_array(folder, f"vlad_{name}"), dtype=np.float32) for name in ("words", "mean", "projection")
    )
    if words.ndim != 3 or mean.shape != (words.size,) or projection.shape[:1] != mean.shape or projection.ndim != 2:
        raise ArtifactError(
            f"{folder}: the VLAD arrays of shapes {words.shape}, {mean.shape} and {projection.shape} don't belong "
            "together; delete the folder and run the step again"
        )
    return Vlad(words, mean, projection)


def _train_words(features: FloatArray, size: int, *, seed: int) -> FloatArray:
    """Run k-means on a drawn part of the features, on one thread: float sums then have one order."""
    import faiss

    drawn = np.random.default_rng(seed).permutation(len(features))[: size * _FEATURES_PER_WORD]
    kmeans = faiss.Kmeans(
        features.shape[1], size, niter=_ITERATIONS, seed=seed + 1, min_points_per_centroid=1, verbose=False
    )
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        kmeans.train(features[np.sort(drawn)])
    finally:
        faiss.omp_set_num_threads(threads)
    return np.asarray(kmeans.centroids, dtype=np.float32)


def _aggregate_one(words: FloatArray, descriptors: FloatArray) -> FloatArray:
    # The squared distance less the descriptor's own length, halved.
    nearest = np.argmin(0.5 * np.square(words).sum(axis=1) - descriptors @ words.T, axis=1)
    order = np.argsort(nearest, kind="stable")
    residuals = _unit(descriptors[order] - words[nearest[order]])
    present, starts = np.unique(nearest[order], return_index=True)
    sums = np.zeros_like(words)
    sums[present] = np.add.reduceat(residuals, starts, axis=0)
    return _unit(np.sign(sums) * np.sqrt(np.abs(sums))).ravel()


def _whiten(raw: FloatArray, *, dimensions: int) -> FloatArray:
    """Return (P, D) directions of the centred sample's principal components, divided by the root of their spread.

    Full whitening divides by the spread itself. A sample of N photos can't tell how small the spread is in most of its
    N - 1 directions, and dividing by those guesses drowns the rest in noise: so the weak directions are left out, and
    the others evened out half way. docs/descriptors.md has the figures.
    """
    n_photos = len(raw)
    values, vectors = np.linalg.eigh((raw @ raw.T).astype(np.float64) / n_photos)
    values, vectors = values[::-1], vectors[:, ::-1]
    supported = max(n_photos // _PHOTOS_PER_DIRECTION, min(n_photos - 1, _LEAST_DIRECTIONS))
    kept = min(dimensions, supported, int(np.sum(values > _NO_VARIANCE)))
    if not kept:
        raise DataError(f"all {n_photos} photos of the VLAD sample look the same; use more and different photos")
    values, vectors = values[:kept], _fix_signs(vectors[:, :kept])
    directions = raw.T.astype(np.float64) @ vectors / np.sqrt(values * n_photos)
    return np.asarray(directions / values**0.25, dtype=np.float32)


def _fix_signs(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn every eigenvector so that its largest entry is positive: its sign is arbitrary otherwise."""
    largest = np.argmax(np.abs(vectors), axis=0)
    return np.asarray(vectors * np.sign(vectors[largest, np.arange(vectors.shape[1])]))


def _unit(rows: FloatArray) -> FloatArray:
    """Scale rows to length 1; rows of zeros stay zeros."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1), dtype=np.float32)
