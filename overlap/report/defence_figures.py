"""The report's plots of recall and reliability, drawn by matplotlib."""

from collections.abc import Sequence

from overlap.report.figures import BLUE, GREY, RED, as_png, open_figure


def draw_recall(points: Sequence[tuple[int, float, float]]) -> bytes:
    """Draw recall by k: (k, share of photos, share of landmarks)."""
    with open_figure(1, width=5.2, height=2.8) as (figure, axes):
        ks = [k for k, _, _ in points]
        axes[0].plot(ks, [landmarks for _, _, landmarks in points], "o-", color=BLUE, label="landmark of a query found")
        axes[0].plot(ks, [photos for _, photos, _ in points], "s--", color=RED, label="photo of it found")
        axes[0].set(xscale="log", ylim=(0, 1.04), xlabel="photos a query gets (k)", ylabel="recall")
        axes[0].set_xticks(ks, [str(k) for k in ks])
        axes[0].minorticks_off()
        axes[0].legend(loc="lower right", fontsize=8)
        return as_png(figure)


def draw_reliability(bins: Sequence[tuple[float, float, int]]) -> bytes:
    """Draw the share of same pairs against the chance that was given, (chance, share, pairs) a bin."""
    with open_figure(1, width=3.6, height=3.2) as (figure, axes):
        axes[0].plot([0, 1], [0, 1], color=GREY, linewidth=1)
        sizes = [8 + 2 * n**0.5 for _, _, n in bins]
        axes[0].scatter([chance for chance, _, _ in bins], [share for _, share, _ in bins], s=sizes, color=BLUE)
        axes[0].set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="chance given", ylabel="share that is same")
        return as_png(figure)
