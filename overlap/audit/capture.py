"""How many landmarks at least no detector found: Chao's estimate from how often each one was found.

Detectors err alike: what one of them can't see the others overlook too. Then few landmarks are found by one detector
only, and the estimate is too low. So it is a lower estimate of what is missing, shown beside the audit's bound and
never in its place.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from overlap.base.tables import FOUND, checked


@dataclass(frozen=True)
class Capture:
    """Hold what the detectors found together.

    Args:
        by_detector: landmarks by detector.
        n_found: landmarks found by any.
        n_once: by exactly one.
        n_twice: by exactly two.
        n_missing: the lower estimate of those that none found; NaN with fewer than two detectors.
    """

    by_detector: Mapping[str, int]
    n_found: int
    n_once: int
    n_twice: int
    n_missing: float


def estimate_missing(found: pa.Table, true: Iterable[int], *, detectors: int) -> Capture:
    """Estimate how many overlapping landmarks no detector found.

    Args:
        found: FOUND.
        true: the landmarks that people confirmed; what else detectors found does not count.
        detectors: how many were run, also those that found nothing.

    Source: Chao 1987, "Estimating the population size for capture-recapture data with unequal catchability", in its
    bias-corrected form, (m - 1) / m * f1 (f1 - 1) / (2 (f2 + 1)) for m detectors.
    """
    wanted = set(true)
    rows = {(row["landmark_id"], row["detector"]) for row in checked(found, FOUND).to_pylist()}
    rows = {row for row in rows if row[0] in wanted}
    times = Counter(landmark for landmark, _ in rows)
    once, twice = (sum(number == times_found for number in times.values()) for times_found in (1, 2))
    missing = (detectors - 1) / detectors * once * (once - 1) / (2 * (twice + 1)) if detectors > 1 else float("nan")
    by_detector = dict(sorted(Counter(detector for _, detector in rows).items()))
    return Capture(by_detector, len(times), once, twice, missing)
