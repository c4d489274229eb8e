"""The geometry of the page's charts: where bars, ticks and lines lie. The template draws them as inline SVG."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

WIDTH = 720
HEIGHT = 240
_LEFT, _TOP, _BOTTOM, _RIGHT = 48, 22, 34, 8
_BASE: float = HEIGHT - _BOTTOM
_BINS = 40
_WORDS = MappingProxyType({"confirmed": "confirmed", "rejected": "rejected", "undecided": "not asked"})


@dataclass(frozen=True)
class ScoreSplit:
    """Hold scores in [0, 1] of verified pairs, by what became of them, and the threshold in force."""

    confirmed: tuple[float, ...] = ()
    rejected: tuple[float, ...] = ()
    undecided: tuple[float, ...] = ()
    threshold: float | None = None


@dataclass(frozen=True)
class Bar:
    """Hold one rectangle of a chart; ``kind`` picks its colour, ``title`` says it in words."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Tick:
    """Hold one mark of an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class ScoreChart:
    """Hold a stacked histogram of scores, ready to be drawn."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    threshold: Tick | None
    counts: Mapping[str, int]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    base: float = _BASE


@dataclass(frozen=True)
class CountBar:
    """Hold one row of a bar chart: ``share`` is its part of the longest row, in percent."""

    label: str
    value: float
    share: float


def score_chart(scores: ScoreSplit) -> ScoreChart | None:
    """Lay out the histogram; None without scores.

    Confirmed pairs stand at the bottom, rejected ones on top of them, pairs that are neither above. Many more pairs lie
    at low scores than at high ones, so heights grow with the square root of the count of the whole column.
    """
    groups = {kind: getattr(scores, kind) for kind in _WORDS}
    counts = np.array([np.histogram(np.clip(values, 0, 1), bins=_BINS, range=(0, 1))[0] for values in groups.values()])
    tallest = int(counts.sum(axis=0).max())
    if not tallest:
        return None
    return ScoreChart(
        bars=tuple(_stack(counts, tallest)),
        x_ticks=tuple(Tick(_x(value), f"{value:g}") for value in (0, 0.2, 0.4, 0.6, 0.8, 1)),
        y_ticks=tuple(Tick(_y(count, tallest), f"{count:,}") for count in _round_counts(tallest)),
        threshold=None if scores.threshold is None else Tick(_x(scores.threshold), f"{scores.threshold:g}"),
        counts={name: len(values) for name, values in groups.items()},
    )


def bar_chart(values: Mapping[str, float]) -> tuple[CountBar, ...]:
    """Lay out one bar a name, in the given order."""
    longest = max(values.values(), default=0) or 1
    return tuple(CountBar(label, value, 100 * value / longest) for label, value in values.items())


def _stack(counts: NDArray[np.int64], tallest: int) -> Iterator[Bar]:
    """Yield the bars of counts (3, bins), each column from the bottom up."""
    for column in range(_BINS):
        n_column = int(counts[:, column].sum())
        top, y = _y(n_column, tallest), _BASE
        for kind, count in zip(_WORDS, counts[:, column].tolist(), strict=True):
            if count:
                height = (_BASE - top) * count / n_column
                y -= height
                words = f"{count:,} {_WORDS[kind]}, score {column / _BINS:g} to {(column + 1) / _BINS:g}"
                yield Bar(_x(column / _BINS) + 0.75, y, _x(1 / _BINS) - _LEFT - 1.5, height, kind, words)


def _x(score: float) -> float:
    return round(_LEFT + score * (WIDTH - _LEFT - _RIGHT), 2)


def _y(count: int, tallest: int) -> float:
    return round(float(_BASE - (_BASE - _TOP) * np.sqrt(count / tallest)), 2)


def _round_counts(tallest: int) -> list[int]:
    """Pick up to four round counts that lie apart on the square-root axis."""
    steps = [lead * 10**power for power in range(9) for lead in (1, 2, 5)]
    picked: list[int] = []
    for count in reversed([step for step in steps if 0.01 * tallest < step <= tallest]):
        if not picked or np.sqrt(picked[-1] / tallest) - np.sqrt(count / tallest) > 0.22:
            picked.append(count)
    return [0, *reversed(picked[:4])]
