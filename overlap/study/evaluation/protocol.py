"""The protocols of Revisited Oxford and Paris, and the classic one: from a ranking to average precision.

Source: Radenovic et al., Revisiting Oxford and Paris, section 3, and the authors' published evaluation code.
tests/oracles/revisitop.py restates it; where that code has quirks (a trapezoid under the precision, a cut-off that
shrinks to the last positive), they are kept, because published figures have them too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.base.errors import ConfigError, DataError

IndexArray: TypeAlias = NDArray[np.int64]

CUTOFFS = (1, 5, 10)
REVISITED = ("easy", "medium", "hard")
CLASSIC = ("base",)


class Truth(Protocol):
    """Name which database photos show the landmark of one query, as row numbers of the database.

    In the classic protocol, ``easy`` holds the good and the ok ones, and ``hard`` is empty.
    """

    @property
    def easy(self) -> IndexArray: ...  # noqa: D102
    @property
    def hard(self) -> IndexArray: ...  # noqa: D102
    @property
    def junk(self) -> IndexArray: ...  # noqa: D102


@dataclass(frozen=True)
class QueryScore:
    """Hold what one query reached, each in [0, 1]; None where the protocol has no positive photo for it.

    Args:
        ap: average precision.
        precision: precision at each of CUTOFFS.
    """

    ap: float | None
    precision: tuple[float | None, ...]


NO_SCORE = QueryScore(None, (None,) * len(CUTOFFS))

_Parts = tuple[tuple[str, ...], tuple[str, ...]]
# Which lists of the ground truth are positive, and which are taken out of the ranking.
_PARTS: Mapping[str, _Parts] = MappingProxyType(
    {
        "base": (("easy", "hard"), ("junk",)),
        "easy": (("easy",), ("junk", "hard")),
        "medium": (("easy", "hard"), ("junk",)),
        "hard": (("hard",), ("junk", "easy")),
    }
)
PROTOCOLS = tuple(_PARTS)


def split_truth(truth: Truth, protocol: str) -> tuple[IndexArray, IndexArray]:
    """Return the positive and the junk photos of a query under a protocol.

    Raises:
        ConfigError: there is no such protocol.
    """
    if protocol not in _PARTS:
        raise ConfigError(f"protocol {protocol!r} is unknown; choose of {', '.join(PROTOCOLS)}")
    positive, junk = _PARTS[protocol]
    return _join(truth, positive), _join(truth, junk)


def score_ranking(ranking: IndexArray, truth: Truth, *, protocol: str, n_photos: int) -> QueryScore:
    """Score one query's ranking.

    Args:
        ranking: (L,) database rows, best first; every number from 0 to L - 1 once. Rows from ``n_photos`` on are
            distractors: plain negatives.
        n_photos: photos in the database, without distractors.

    Returns:
        The score; NO_SCORE where the protocol has no positive photo for the query.

    Raises:
        DataError: the ranking isn't complete (a list cut at k looks like a worse ranking, not like a shorter one), or
            the ground truth names a row that the database doesn't have.
    """
    _check_ranking(ranking, n_photos)
    check_truth(truth, n_photos)
    places = np.empty(len(ranking), dtype=np.int64)
    places[ranking] = np.arange(len(ranking))
    return score_places(truth, protocol=protocol, place_of=lambda rows: places[rows])


def score_places(truth: Truth, *, protocol: str, place_of: Callable[[IndexArray], IndexArray]) -> QueryScore:
    """Score one query, given at which place of the whole ranking each photo of the ground truth stands.

    Args:
        place_of: maps (M,) rows named by the ground truth to their (M,) places, from 0.
    """
    positive, junk = split_truth(truth, protocol)
    found, skipped = np.sort(place_of(positive)), np.sort(place_of(junk))
    return score_positions(found - np.searchsorted(skipped, found))


def score_positions(positions: IndexArray) -> QueryScore:
    """Score the positive photos' positions.

    Args:
        positions: (M,) ascending, from 0, counted without junk; all positives.
    """
    if not len(positions):
        return NO_SCORE
    found = np.arange(len(positions))
    after = (found + 1) / (positions + 1)
    before = np.where(positions == 0, 1.0, found / np.maximum(positions, 1))
    return QueryScore(
        float(np.mean((before + after) / 2)), tuple(_precision_at(cutoff, positions + 1) for cutoff in CUTOFFS)
    )


def check_truth(truth: Truth, n_photos: int) -> None:
    """Check that the ground truth names rows of the database.

    Raises:
        DataError: it does not.
    """
    rows = _join(truth, ("easy", "hard", "junk"))
    wrong = rows[(rows < 0) | (rows >= n_photos)]
    if len(wrong):
        raise DataError(
            f"the ground truth names row {wrong[0]} of a database of {n_photos} photos; describe every photo of the "
            "set, in the ground truth's order"
        )


def _precision_at(cutoff: int, ranks: IndexArray) -> float:
    """Return the precision at the cut-off, which shrinks to the last positive's rank where that comes before it."""
    reached = min(int(ranks[-1]), cutoff)
    return float(np.count_nonzero(ranks <= reached) / reached)


def _join(truth: Truth, names: tuple[str, ...]) -> IndexArray:
    lists = {"easy": truth.easy, "hard": truth.hard, "junk": truth.junk}
    return np.concatenate([np.asarray(lists[name], dtype=np.int64) for name in names])


def _check_ranking(ranking: IndexArray, n_photos: int) -> None:
    """Check that the ranking holds every number up to its length, or to the database's if that is longer."""
    present = np.zeros(max(len(ranking), n_photos), dtype=bool)
    present[ranking[(ranking >= 0) & (ranking < len(present))]] = True
    if not present.all():
        raise DataError(
            f"a ranking of {len(ranking)} rows holds {int(present[:n_photos].sum())} of the database's {n_photos} "
            "photos; it must hold every photo once, and distractors after them by number: don't cut it at k"
        )
