"""Dose and response: what giving the removed landmarks back, one after another, does to the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from overlap.base.tables import DOSES, as_table
from overlap.study.evaluation.resampling import GroupArray, Values, estimate_mean

BACK, OUT, OTHER = "given back", "still removed", "other"


@dataclass(frozen=True, eq=False)
class Dose:
    """Hold the scores of one method after some of the removed landmarks were given back.

    Args:
        n_landmarks: how many ids were given back.
        ap: (S, Q) average precision.
        back: (Q,) whether the query's landmark is back.
    """

    n_landmarks: int
    ap: Values
    back: NDArray[np.bool_]


def plan_doses(units: Sequence[tuple[int, ...]], *, doses: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """Put the removed landmarks in a random order and return what is given back at each dose, nested.

    Args:
        units: removed ids, those of one building together: they go back at once.
        doses: steps between none and all, evenly spaced; as many as there are units give back one at a time.

    Returns:
        Ascending ids at every dose between none and all, without those two.
    """
    order = np.random.default_rng(seed).permutation(len(units)).tolist()
    counts = np.unique(np.linspace(0, len(order), doses + 2).round().astype(int)).tolist()
    return tuple(
        tuple(sorted(landmark_id for place in order[:count] for landmark_id in units[place]))
        for count in counts
        if 0 < count < len(order)
    )


def dose_table(
    doses: Sequence[Dose], groups: GroupArray, overlapping: NDArray[np.bool_], *, network: str, seed: int = 0
) -> pa.Table:
    """Average what each dose adds to the first one's average precision, query by query (DOSES).

    Apart: the overlapping queries whose landmark is back, those whose is not, and the others.

    Args:
        doses: the first is what the others are compared with: nothing given back.
        groups: (Q,) the landmark of each query.
        overlapping: (Q,) whether the removal took the query's landmark.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for dose in doses:
        kinds: Mapping[str, NDArray[np.bool_]] = {
            BACK: overlapping & dose.back,
            OUT: overlapping & ~dose.back,
            OTHER: ~overlapping,
        }
        for kind, members in kinds.items():
            if members.any():
                estimate = estimate_mean((dose.ap - doses[0].ap)[:, np.newaxis, members], groups[members], rng=rng)
                about = {"network": network, "n_landmarks": dose.n_landmarks, "queries": kind}
                rows.append({**about, "n_queries": int(members.sum()), **vars(estimate)})
    return as_table(rows, DOSES)
