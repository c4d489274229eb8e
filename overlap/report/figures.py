"""The figures of an impact study, drawn by matplotlib from arrays: every function returns a PNG.

One style for all: the colours of Okabe and Ito, which the colour-blind tell apart, and never colour alone.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CurvePoint: TypeAlias = tuple[float, float, float | None]

INK, GREY = "#222222", "#8a8a8a"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
CYCLE = (BLUE, RED, GREEN, PURPLE, ORANGE, SKY)
MARKERS = "osD^vP"
_DPI = 110
# How a version's line looks: the whole set, the clean one, any placebo, any dose.
_LINES = MappingProxyType({"full": "-", "clean": "--", "placebo": ":", "dose": "-."})
_STYLE: Mapping[Any, Any] = MappingProxyType(
    {
        "font.size": 9,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "text.color": INK,
        "axes.grid": True,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "figure.facecolor": "white",
    }
)


def draw_effects(effects: pa.Table, *, protocol: str) -> bytes:
    """Draw every method's effect with its interval, by contrast and kind of query."""
    rows = [row for row in effects.to_pylist() if row["protocol"] == protocol]
    contrasts = list(dict.fromkeys(row["contrast"] for row in rows))
    kinds = list(dict.fromkeys(row["queries"] for row in rows))
    networks = list(dict.fromkeys(row["network"] for row in rows))
    with open_figure(len(contrasts), width=3.1, height=0.9 + 0.34 * len(kinds) * len(networks)) as (figure, axes):
        for axis, contrast in zip(axes, contrasts, strict=True):
            _draw_contrast(axis, [row for row in rows if row["contrast"] == contrast], networks, kinds)
            axis.set_title(contrast)
            axis.set_xlabel("points of mAP")
        for axis in axes[1:]:
            axis.set_yticklabels([])
        _legend_below(figure, axes[0])
        return as_png(figure)


def draw_changes(changes: pa.Table) -> bytes:
    """Draw each query's change from the clean version to the full one, sorted, with the placebo's beside it."""
    rows = changes.to_pylist()
    networks = list(dict.fromkeys(row["network"] for row in rows))
    with open_figure(len(networks), width=4.4, height=2.9, sharey=True) as (figure, axes):
        for axis, network in zip(axes, networks, strict=True):
            own = [row for row in rows if row["network"] == network]
            own.sort(key=lambda row: (not row["overlapping"], row["full"] - row["clean"]))
            _draw_queries(axis, own)
            axis.set_title(network)
            axis.set_xlabel("queries, overlapping ones first")
        axes[0].set_ylabel("change in AP, points")
        _legend_below(figure, axes[0])
        return as_png(figure)


def draw_doses(doses: pa.Table) -> bytes:
    """Draw what giving back removed landmarks adds to mAP, over how many there are."""
    rows = doses.to_pylist()
    networks = list(dict.fromkeys(row["network"] for row in rows))
    kinds = list(dict.fromkeys(row["queries"] for row in rows))
    with open_figure(len(networks), width=4.0, height=2.9, sharey=True) as (figure, axes):
        for axis, network in zip(axes, networks, strict=True):
            for turn, kind in enumerate(kinds):
                own = [row for row in rows if row["network"] == network and row["queries"] == kind]
                x, y = [row["n_landmarks"] for row in own], [100 * row["value"] for row in own]
                axis.fill_between(
                    x,
                    [100 * row["low"] for row in own],
                    [100 * row["high"] for row in own],
                    color=CYCLE[turn],
                    alpha=0.12,
                )
                axis.plot(x, y, color=CYCLE[turn], marker=MARKERS[turn], markersize=4, label=kind)
            axis.set_title(network)
            axis.axhline(0, color=GREY, linewidth=1)
            axis.set_xticks(sorted({row["n_landmarks"] for row in rows}))
            axis.set_xlabel("landmark ids given back")
        axes[0].set_ylabel("gain in mAP, points")
        _legend_below(figure, axes[0])
        return as_png(figure)


def draw_curves(curves: Mapping[tuple[str, str], Sequence[Sequence[CurvePoint]]]) -> bytes:
    """Draw loss and held-out mAP over the steps.

    Args:
        curves: by network and version, a curve a seed, of (step, loss, held-out mAP in 0..1 or None).
    """
    networks = list(dict.fromkeys(network for network, _ in curves))
    with open_figure(2, width=4.4, height=2.9) as (figure, axes):
        for (network, version), runs in curves.items():
            colour, line = CYCLE[networks.index(network) % len(CYCLE)], _LINES.get(version.split("-")[0], "-")
            for turn, run in enumerate(runs):
                style = {"color": colour, "linestyle": line, "alpha": 1 if len(runs) == 1 else 0.6, "linewidth": 1.2}
                label = f"{network}, {version}" if turn == 0 else None
                axes[0].plot([step for step, _, _ in run], [loss for _, loss, _ in run], label=label, **style)
                held = [(step, 100 * value) for step, _, value in run if value is not None]
                axes[1].plot(
                    [step for step, _ in held], [value for _, value in held], marker="o", markersize=3, **style
                )
        axes[0].set_title("Training loss")
        axes[1].set_title("mAP on held-out photos, per cent")
        for axis in axes:
            axis.set_xlabel("steps")
        _legend_below(figure, axes[0])
        return as_png(figure)


def _draw_contrast(
    axis: "Axes", rows: Sequence[Mapping[str, Any]], networks: Sequence[str], kinds: Sequence[str]
) -> None:
    axis.axvline(0, color=GREY, linewidth=1)
    for row in rows:
        turn = networks.index(row["network"])
        y = kinds.index(row["queries"]) + (turn - (len(networks) - 1) / 2) * 0.7 / len(networks)
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        axis.plot([low, high], [y, y], color=CYCLE[turn % len(CYCLE)], linewidth=2)
        first = row["queries"] == kinds[0]
        axis.plot(
            value,
            y,
            marker=MARKERS[turn % len(MARKERS)],
            color=CYCLE[turn % len(CYCLE)],
            markersize=6,
            linestyle="",
            label=row["network"] if first else None,
        )
    axis.set_yticks(range(len(kinds)), kinds)
    axis.set_ylim(len(kinds) - 0.5, -0.5)
    axis.grid(visible=False, axis="y")


def _draw_queries(axis: "Axes", rows: Sequence[Mapping[str, Any]]) -> None:
    places = np.arange(len(rows))
    change = np.array([100 * (row["full"] - row["clean"]) for row in rows])
    overlapping = np.array([row["overlapping"] for row in rows], dtype=bool)
    axis.bar(places[overlapping], change[overlapping], width=0.85, color=BLUE, label="full - clean, overlapping")
    axis.bar(places[~overlapping], change[~overlapping], width=0.85, color=ORANGE, label="full - clean, other")
    if rows and rows[0]["placebo"] is not None:
        placebo = [100 * (row["full"] - row["placebo"]) for row in rows]
        axis.plot(places, placebo, linestyle="", marker="_", markersize=5, color=INK, label="full - placebo")
    axis.axhline(0, color=GREY, linewidth=1)
    axis.set_xticks([])


@contextmanager
def open_figure(
    columns: int, *, rows: int = 1, width: float, height: float, sharey: bool = False
) -> "Iterator[tuple[Figure, Any]]":
    """Give a figure with axes of so many inches each; no window is ever opened."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(dict(_STYLE)):
        figure = Figure(figsize=(width * columns, height * rows), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
        yield figure, axes[0] if rows == 1 else axes


def _legend_below(figure: "Figure", axis: "Axes") -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), fontsize=8)


def as_png(figure: "Figure") -> bytes:
    """Return a figure as PNG; the same figure gives the same bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()
