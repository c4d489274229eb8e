"""Whitening learned from pairs of photos of one landmark.

Source: Mikolajczyk and Matas 2007, as used by Radenovic, Tolias and Chum (Fine-tuning CNN image retrieval, section
3.4) and their published code. Ours: rows instead of columns, ``eigh`` instead of ``eig``, and the sign of each axis
fixed, so that the same photos give the same matrix.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError
from overlap.base.tables import FloatArray
from overlap.study.evaluation.protocol import IndexArray

_BLOCK = 8192
_FLOOR = 1e-6
# Added to the diagonal of a covariance of too few pairs, then ten times more until it can be factored.
_RIDGE = 1e-10


@dataclass(frozen=True, eq=False)
class Whitening:
    """Hold a whitening: ``projection @ (x - mean)``.

    Args:
        mean: (D,) float64.
        projection: (D, D) float64, the axes of greatest variance first.
    """

    mean: NDArray[np.float64]
    projection: NDArray[np.float64]


def learn_whitening(vectors: NDArray[np.floating], queries: IndexArray, positives: IndexArray) -> Whitening:
    """Learn a whitening that makes pairs differ equally in all directions, then rotate it to the photos' axes.

    Args:
        vectors: (N, D) descriptors of training photos; read in blocks, so they may be memory-mapped.
        queries: (P,) rows of the first photo of each pair.
        positives: (P,) rows of the second, of the same landmark.

    Raises:
        DataError: there are no pairs, queries and positives differ in number, or descriptors hold undefined numbers.
    """
    if not len(queries) or len(queries) != len(positives):
        raise DataError(
            f"whitening: {len(queries)} queries and {len(positives)} positives; expected pairs of rows, at least one"
        )
    mean = sum((part.sum(axis=0) for part in _blocks(vectors, queries)), np.zeros(vectors.shape[1])) / len(queries)
    differences = _scatter(
        (first - second for first, second in zip(_blocks(vectors, queries), _blocks(vectors, positives), strict=True)),
        vectors.shape[1],
    )
    projection = np.linalg.inv(_factor(differences / len(queries)))
    everyone = np.arange(len(vectors))
    scatter = _scatter(((part - mean) @ projection.T for part in _blocks(vectors, everyone)), vectors.shape[1])
    _, axes = np.linalg.eigh(scatter)
    return Whitening(mean, _oriented(axes[:, ::-1].T) @ projection)


def apply_whitening(
    whitening: Whitening, vectors: NDArray[np.floating], *, dimensions: int | None = None
) -> FloatArray:
    """Whiten descriptors.

    Args:
        vectors: (M, D).
        dimensions: how many numbers to keep; all of them if None.

    Returns:
        (M, dimensions) float32 rows of unit length.

    Raises:
        DataError: the descriptors are not of the whitening's size, or fewer numbers are there than are to be kept.
    """
    size = len(whitening.mean)
    kept = size if dimensions is None else dimensions
    if vectors.ndim != 2 or vectors.shape[1] != size or not 0 < kept <= size:
        raise DataError(
            f"whitening of {size} numbers can't turn descriptors of shape {vectors.shape} into {kept} numbers; learn "
            "it from descriptors of the same network"
        )
    white = (vectors.astype(np.float64) - whitening.mean) @ whitening.projection[:kept].T
    rows: FloatArray = (white / (np.linalg.norm(white, axis=1, keepdims=True) + _FLOOR)).astype(np.float32)
    return rows


def _blocks(vectors: NDArray[np.floating], rows: IndexArray) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(rows), _BLOCK):
        yield np.asarray(vectors[rows[start : start + _BLOCK]], dtype=np.float64)


def _scatter(parts: Iterator[NDArray[np.float64]], size: int) -> NDArray[np.float64]:
    total = np.zeros((size, size))
    for part in parts:
        total += part.T @ part
    if not np.isfinite(total).all():
        raise DataError("whitening: the descriptors hold undefined numbers; describe the photos again")
    return total


def _factor(covariance: NDArray[np.float64], *, ridge: float = 0.0) -> NDArray[np.float64]:
    """Return the lower Cholesky factor, with as small a ridge as it takes."""
    try:
        return np.asarray(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance))), dtype=np.float64)
    except np.linalg.LinAlgError:
        return _factor(covariance, ridge=max(10 * ridge, _RIDGE))


def _oriented(axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn each row so that its largest number is positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return axes * np.where(largest < 0, -1.0, 1.0)
