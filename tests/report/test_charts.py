from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap.report.charts import ScoreSplit, bar_chart, score_chart

WORDS = {"confirmed": "confirmed", "rejected": "rejected", "undecided": "not asked"}
SCORES = st.lists(st.floats(0, 1), max_size=60).map(tuple)


def count_of(bar):
    return int(bar.title.split()[0].replace(",", ""))


@settings(deadline=None)
@given(SCORES, SCORES, SCORES)
def test_every_pair_is_in_the_bar_of_its_score(confirmed, rejected, undecided):
    split = ScoreSplit(confirmed, rejected, undecided, 0.5)
    chart = score_chart(split)
    if chart is None:
        assert not confirmed + rejected + undecided
        return
    for kind, words in WORDS.items():
        scores = getattr(split, kind)
        assert chart.counts[kind] == len(scores)
        bars = [bar for bar in chart.bars if bar.kind == kind]
        assert all(bar.title.split(" ", 1)[1].startswith(f"{words}, score ") for bar in bars)
        found = {bar.title.split("score ")[1]: count_of(bar) for bar in bars}
        expected = {}
        for score in scores:
            low = next(column for column in range(39, -1, -1) if score >= np.linspace(0, 1, 41)[column])
            name = f"{low / 40:g} to {(low + 1) / 40:g}"
            expected[name] = expected.get(name, 0) + 1
        assert found == expected


@settings(deadline=None)
@given(SCORES, SCORES, SCORES)
def test_bars_stand_on_each_other_inside_the_chart(confirmed, rejected, undecided):
    chart = score_chart(ScoreSplit(confirmed, rejected, undecided))
    columns = {}
    for bar in chart.bars if chart else ():
        columns.setdefault(bar.x, []).append(bar)
    for bars in columns.values():
        bottom = chart.base
        for bar in bars:
            assert bar.y + bar.height == pytest.approx(bottom)
            bottom = bar.y
        assert bottom >= chart.top - 1e-6
        height = chart.base - bottom
        n_pairs = sum(map(count_of, bars))
        tallest = max(sum(map(count_of, others)) for others in columns.values())
        assert height == pytest.approx((chart.base - chart.top) * (n_pairs / tallest) ** 0.5, abs=0.01)


def test_the_threshold_and_the_axes_lie_at_their_scores():
    chart = score_chart(ScoreSplit(confirmed=(0.0, 1.0), threshold=0.25))
    assert chart.threshold.label == "0.25"
    assert chart.threshold.at == pytest.approx(chart.left + 0.25 * (chart.right - chart.left))
    assert [tick.label for tick in chart.x_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert (chart.x_ticks[0].at, chart.x_ticks[-1].at) == (chart.left, chart.right)
    assert [(tick.label, tick.at) for tick in chart.y_ticks] == [("0", chart.base), ("1", chart.top)]
    assert score_chart(ScoreSplit(confirmed=(0.5,))).threshold is None


@settings(deadline=None)
@given(st.integers(1, 3000))
def test_count_ticks_are_round_and_apart(tallest):
    chart = score_chart(ScoreSplit(undecided=(0.1,) * tallest))
    labels = [tick.label.replace(",", "") for tick in chart.y_ticks]
    assert labels[0] == "0"
    assert all(label.rstrip("0") in ("1", "2", "5") for label in labels[1:])
    heights = [tick.at for tick in chart.y_ticks]
    assert all(low - high > 14 for low, high in pairwise(heights)), "their words do not touch"


def test_bar_chart_shares_are_of_the_longest():
    bars = bar_chart({"ok": 50, "no_model": 200, "watermark": 0})
    assert [(bar.label, bar.value, bar.share) for bar in bars] == [
        ("ok", 50, 25.0),
        ("no_model", 200, 100.0),
        ("watermark", 0, 0.0),
    ]
    assert bar_chart({"ok": 0})[0].share == 0
    assert bar_chart({}) == ()
