"""The figures of an impact study that show photos: attention, best ranked photos, photos in the plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from overlap.report.figures import BLUE, CYCLE, GREEN, GREY, INK, MARKERS, RED, SKY, as_png, open_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Pixels: TypeAlias = NDArray[np.uint8]
Map: TypeAlias = NDArray[np.floating[Any]]
Box: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class AttentionView:
    """Show what a network looks at in one photo (Figure 5).

    Args:
        photo: (H, W, 3).
        before: (h, w) attention in 0..1 before training.
        after: (h, w) the same after it.
        mask: (h, w) what the highest threshold keeps.
        boxes: of the mask's connected components, in the photo's pixels.
        truth: the query's box in the photo's pixels, if it has one.
    """

    title: str
    photo: Pixels
    before: Map
    after: Map
    mask: Map
    boxes: tuple[Box, ...]
    truth: Box | None = None


@dataclass(frozen=True, eq=False)
class RankingView:
    """Show a query and its best ranked photos with attention (Figure 6).

    Args:
        photo: the whole query photo.
        box: what of it is searched for, in its pixels.
        found: the best photos, each with its (h, w) attention map.
        labels: easy, hard, junk or wrong, for each of them.
    """

    title: str
    photo: Pixels
    box: Box | None
    found: tuple[tuple[Pixels, Map], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class EmbeddingView:
    """Show photos in the plane (Figure 7).

    Args:
        points: (N, 2).
        landmarks: (N,) the landmark of each photo under the protocol; -1 for none.
    """

    title: str
    points: Map
    landmarks: NDArray[np.int64]


def draw_attention(views: Sequence[AttentionView]) -> bytes:
    """Draw attention before and after training, mask, and boxes (the paper's Figure 5)."""
    titles = ("photo", "attention before", "attention after", "mask", "boxes")
    with open_figure(len(titles), rows=len(views), width=1.75, height=1.55) as (figure, axes):
        for row, view in zip(np.reshape(axes, (len(views), -1)), views, strict=True):
            for axis in row:
                _show(axis, view.photo)
            _overlay(row[1], view.photo, view.before)
            _overlay(row[2], view.photo, view.after)
            _shade(row[3], view.photo, view.mask)
            for box in view.boxes:
                _frame(row[4], box, SKY)
            if view.truth is not None:
                _frame(row[0], view.truth, RED)
                _frame(row[4], view.truth, RED, line="--")
            row[0].set_ylabel(_short(view.title), fontsize=7)
        for axis, title in zip(np.ravel(axes), titles, strict=False):
            axis.set_title(title, fontsize=9)
        return as_png(figure)


def draw_rankings(views: Sequence[RankingView]) -> bytes:
    """Draw queries with their best ranked photos and the attention on them (the paper's Figure 6)."""
    n_found = max(len(view.found) for view in views)
    with open_figure(1 + n_found, rows=len(views), width=1.5, height=1.5) as (figure, axes):
        for row, view in zip(np.reshape(axes, (len(views), -1)), views, strict=True):
            _show(row[0], view.photo)
            row[0].set_ylabel(_short(view.title), fontsize=7)
            if view.box is not None:
                _frame(row[0], view.box, RED)
            for axis in row[1 + len(view.found) :]:
                axis.set_axis_off()
            for axis, (photo, attention), label in zip(row[1:], view.found, view.labels, strict=False):
                _show(axis, photo)
                _overlay(axis, photo, attention)
                axis.set_xlabel(label, fontsize=8, color=_LABELS.get(label, INK), fontweight="bold")
                for spine in axis.spines.values():
                    spine.set(visible=True, color=_LABELS.get(label, INK), linewidth=2)
        for place, axis in enumerate(np.reshape(axes, (len(views), -1))[0]):
            axis.set_title(f"top {place}" if place else "query", fontsize=9)
        return as_png(figure)


def draw_embeddings(views: Sequence[EmbeddingView], *, columns: int) -> bytes:
    """Draw photos in the plane, positives of each landmark in a colour and a shape of their own (Figure 7)."""
    with open_figure(columns, rows=-(-len(views) // columns), width=3.3, height=2.9) as (figure, axes):
        for axis, view in zip(np.ravel(axes), views, strict=False):
            others = view.landmarks < 0
            axis.scatter(*view.points[others].T, s=9, color="#cfcfcf", linewidths=0)
            for landmark in np.unique(view.landmarks[~others]).tolist():
                chosen = view.landmarks == landmark
                axis.scatter(
                    *view.points[chosen].T,
                    s=20,
                    color=CYCLE[landmark % len(CYCLE)],
                    marker=MARKERS[landmark // len(CYCLE) % len(MARKERS)],
                    linewidths=0.4,
                    edgecolors="white",
                )
            axis.set_title(view.title, fontsize=9)
            axis.grid(visible=False)
            axis.set_xticks([])
            axis.set_yticks([])
        return as_png(figure)


_LABELS = MappingProxyType({"easy": GREEN, "hard": BLUE, "junk": GREY, "wrong": RED})


def _show(axis: "Axes", photo: Pixels) -> None:
    axis.imshow(photo)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _overlay(axis: "Axes", photo: Pixels, attention: Map) -> None:
    """Lay an attention map over a photo, from transparent to opaque."""
    height, width = photo.shape[:2]
    axis.imshow(
        attention,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        cmap="inferno",
        alpha=0.62,
        vmin=0,
        vmax=1,
        interpolation="bilinear",
    )


def _shade(axis: "Axes", photo: Pixels, mask: Map) -> None:
    """Darken what a mask leaves out."""
    height, width = photo.shape[:2]
    shade = np.zeros((*mask.shape, 4))
    shade[..., 3] = 0.85 * (1 - mask)
    axis.imshow(shade, extent=(-0.5, width - 0.5, height - 0.5, -0.5), interpolation="nearest")


def _frame(axis: "Axes", box: Box, colour: str, *, line: str = "-") -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.8, linestyle=line))


def _short(text: str, at_most: int = 22) -> str:
    return text if len(text) <= at_most else text[: at_most - 1] + "…"
