"""Descriptors that came as files: ``.npy`` matrices with one row a photo."""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import DataError
from overlap.base.tables import Descriptors
from overlap.study.evaluation.ranking import BLOCK

_REMEDY = "save one row a photo with numpy.save, as float16, float32 or float64"


def read_matrix(path: Path, image_ids: Sequence[str], *, what: str) -> Descriptors:
    """Map a matrix whose rows belong to the given photos, in their order.

    Args:
        path: a .npy file of (N, D) float16, float32 or float64; nothing in it is run.
        image_ids: N ids, in the ground truth's order.
        what: what the photos are, for the messages: ``queries`` or ``database photos``.

    Raises:
        DataError: the file is no such matrix, has another number of rows, or a row of zeros or undefined numbers.
    """
    vectors = _map(path)
    if len(vectors) != len(image_ids):
        turned = ": is it transposed? One row a photo is expected" if vectors.shape[1] == len(image_ids) else ""
        raise DataError(
            f"{path}: {len(vectors)} rows, but the ground truth has {len(image_ids)} {what}{turned}; give every photo "
            "a row, in the ground truth's order"
        )
    for start in range(0, len(vectors), BLOCK):
        _check_rows(path, vectors[start : start + BLOCK], start=start)
    return Descriptors(list(image_ids), vectors)


def read_distractor_matrix(path: Path) -> Iterator[Descriptors]:
    """Yield a matrix of distractors block by block; their ids say the row.

    Raises:
        DataError: as read_matrix, whatever the number of rows.
    """
    vectors = _map(path)
    for start in range(0, len(vectors), BLOCK):
        part = vectors[start : start + BLOCK]
        _check_rows(path, part, start=start)
        yield Descriptors([f"{path.name} row {start + row}" for row in range(len(part))], part)


def _map(path: Path) -> NDArray[np.floating]:
    if zipfile.is_zipfile(path):
        raise DataError(f"{path} holds several arrays; {_REMEDY}")
    try:
        vectors: NDArray[np.floating] = np.lib.format.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {_REMEDY}") from None
    except Exception as error:  # numpy raises nearly every kind on damaged headers
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DataError(f"{path} is not a .npy file of plain numbers ({reason}); {_REMEDY}") from error
    if vectors.ndim != 2 or vectors.dtype.type not in (np.float16, np.float32, np.float64):
        raise DataError(f"{path} holds {vectors.dtype} of shape {vectors.shape}; {_REMEDY}")
    return vectors


def _check_rows(path: Path, vectors: NDArray[np.floating], *, start: int) -> None:
    """Refuse rows that can't be ranked: zeros are what a photo that was never described leaves behind."""
    undefined = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(undefined):
        raise DataError(f"{path} row {start + undefined[0]} holds undefined numbers; describe that photo again")
    empty = np.flatnonzero(~vectors.any(axis=1))
    if len(empty):
        raise DataError(f"{path} row {start + empty[0]} holds zeros only; describe that photo again")
