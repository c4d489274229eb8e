"""Recorded evidence, read with care, and beside what the photos give today."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from overlap.base.errors import CheckError
from overlap.base.texts import read_json

EVIDENCE_FOLDER = "evidence"
ABOUT_FILE = f"{EVIDENCE_FOLDER}/about.json"

_EXACT = ("n_matches", "n_inliers", "status", "geometry", "query_size_px", "photo_size_px")
_SCORE_TOLERANCE = 1e-6
_MATRIX_TOLERANCE = 1e-6
_PIXEL_TOLERANCE = 0.01


def pairs_file(landmark_id: int) -> str:
    """Return the name of a landmark's file in a release."""
    return f"{EVIDENCE_FOLDER}/{landmark_id}/pairs.json"


def read_evidence(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Read what a release says of its evidence: how it was made, and the landmarks.

    Raises:
        CheckError: a file is missing or not as such files are.
    """
    about = _read(folder / ABOUT_FILE, ("settings", "weights_sha256", "matcher_sha256", "landmarks"))
    numbers = about["landmarks"]
    if not isinstance(numbers, list) or not all(type(number) is int for number in numbers):
        raise CheckError(f"{folder / ABOUT_FILE} can't be read: its landmarks are no list of numbers")
    return about, [_read(folder / pairs_file(number), ("landmark_id", "pairs")) for number in numbers]


def compare_pair(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between a recorded pair and the same pair verified again.

    Counts, status, kind of model and picture sizes must be equal; the score may differ by 1e-6, the matrix by 1e-6 of
    its size, an inlier by 0.01 pixels, the rounding of the record.
    """
    differences = [
        f"{name} was {recorded.get(name)}, is {found[name]}" for name in _EXACT if recorded.get(name) != found[name]
    ]
    if not _near(recorded.get("score"), found["score"], _SCORE_TOLERANCE):
        differences.append(f"score was {recorded.get('score')}, is {found['score']}")
    size = max((abs(value) for value in found["matrix"] or ()), default=0.0)
    if not _near(recorded.get("matrix"), found["matrix"], _MATRIX_TOLERANCE * size):
        differences.append(f"matrix was {recorded.get('matrix')}, is {found['matrix']}")
    if not _near(recorded.get("inliers"), found["inliers"], _PIXEL_TOLERANCE):
        differences.append("the inliers lie elsewhere")
    return differences


def _near(recorded: Any, found: Any, tolerance: float) -> bool:
    if recorded is None or found is None:
        return recorded is found
    try:
        before, now = np.asarray(recorded, np.float64), np.asarray(found, np.float64)
    except (ValueError, TypeError):
        return False
    return before.shape == now.shape and bool((np.abs(before - now) <= tolerance).all())


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        value = read_json(path)
        missing = [key for key in keys if key not in value]
        if not isinstance(value, dict) or missing:
            raise ValueError(f"it lacks {', '.join(missing) or 'everything'}")
    except (OSError, ValueError, TypeError) as error:
        raise CheckError(f"{path} can't be read ({error}); fetch the release again") from None
    return value
