"""How many nearest photos a query needs: recall by k, on positives that people confirmed, or that were planted.

Confirmed positives are all photos of the landmarks that people confirmed for a query, also those that show another
side: what search is to find is the landmark, and every photo of it is a chance to.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

Query = tuple[str, str]


@dataclass(frozen=True)
class RecallPoint:
    """Hold what the first k photos of each query hold: the share of positives, and of (query, landmark) pairs."""

    k: int
    photos: float
    landmarks: float


def recall_by_k(
    ranks: Mapping[Query, Mapping[str, int]], positives: Mapping[Query, Mapping[int, Collection[str]]], *, k: int
) -> tuple[RecallPoint, ...]:
    """Return the curve at 1, 2, 5, 10, 20, 50 and so on, up to k; empty without positives.

    Args:
        ranks: by query, the rank of each photo that was found, from 0.
        positives: by query, the photos of each landmark that it shows.
    """
    wanted = [
        [ranks.get(query, {}).get(photo, k) for photo in photos]
        for query, landmarks in positives.items()
        for photos in landmarks.values()
    ]
    n_photos = sum(map(len, wanted))
    return tuple(
        RecallPoint(
            step,
            sum(rank < step for found in wanted for rank in found) / n_photos,
            sum(min(found) < step for found in wanted) / len(wanted),
        )
        for step in list_steps(k)
        if n_photos
    )


def list_steps(k: int) -> list[int]:
    """Return 1, 2, 5, 10, 20, 50 and so on, up to k."""
    return sorted({min(lead * 10**power, k) for power in range(len(str(k)) + 1) for lead in (1, 2, 5)})


def share_within(values: Sequence[int], limit: int) -> float:
    """Return the share of ranks, or of distances, up to a limit; NaN where there are none."""
    return sum(value <= limit for value in values) / len(values) if values else math.nan


def least_limit(values: Sequence[int], share: float) -> int:
    """Return the least limit that at least such a share of the values is within.

    Args:
        values: at least one.
        share: above 0, at most 1.
    """
    return sorted(values)[math.ceil(share * len(values)) - 1]
