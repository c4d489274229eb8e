"""The report's plots of recall and reliability, drawn by matplotlib."""

from collections.abc import Mapping, Sequence

from overlap.report.figures import BLUE, CYCLE, GREY, MARKERS, as_png, open_figure


def draw_recall(curves: Mapping[str, Sequence[tuple[int, float]]], *, k: int) -> bytes:
    """Draw recall by the number of photos that a query gets, a line of (number, recall) a kind, and the present k."""
    with open_figure(1, width=5.4, height=3.0) as (figure, axes):
        for number, (kind, points) in enumerate(curves.items()):
            colour, marker = CYCLE[number % len(CYCLE)], MARKERS[number % len(MARKERS)]
            axes[0].plot(*zip(*points, strict=True), f"{marker}-", color=colour, label=kind, markersize=4)
        most = max(reach for points in curves.values() for reach, _ in points)
        if k < most:
            axes[0].axvline(k, color=GREY, linestyle="--", linewidth=1, label=f"search.k = {k}")
        axes[0].set(xscale="log", ylim=(0, 1.04), xlabel="photos a query gets (k)", ylabel="recall")
        ticks = [10**power for power in range(len(str(most)))]
        axes[0].set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes[0].minorticks_off()
        axes[0].legend(loc="lower right", fontsize=8, frameon=True, edgecolor="none", framealpha=0.9)
        return as_png(figure)


def draw_reliability(bins: Sequence[tuple[float, float, int]]) -> bytes:
    """Draw the share of same pairs against the chance that was given, (chance, share, pairs) a bin."""
    with open_figure(1, width=3.6, height=3.2) as (figure, axes):
        axes[0].plot([0, 1], [0, 1], color=GREY, linewidth=1)
        sizes = [8 + 2 * n**0.5 for _, _, n in bins]
        axes[0].scatter([chance for chance, _, _ in bins], [share for _, share, _ in bins], s=sizes, color=BLUE)
        axes[0].set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="chance given", ylabel="share that is same")
        return as_png(figure)
