import io

import numpy as np
import pytest

from overlap.base.tables import CHANGES, DOSES, EFFECTS, as_table
from overlap.report.figures import draw_changes, draw_curves, draw_doses, draw_effects
from overlap.report.photo_figures import (
    AttentionView,
    EmbeddingView,
    RankingView,
    draw_attention,
    draw_embeddings,
    draw_rankings,
)

NETWORKS = ("cider_small", "gem_small")


def effects(value=0.1):
    about = {"protocol": "medium", "n_queries": 9, "n_landmarks": 3, "n_seeds": 2, "n_placebos": 2}
    rows = [
        {**about, "network": network, "contrast": contrast, "queries": kind, "value": value, "low": 0.0, "high": 0.2}
        for network in NETWORKS
        for contrast in ("full - clean", "full - placebo", "effect")
        for kind in ("overlapping", "other")
    ]
    return as_table(rows, EFFECTS)


def changes(placebo):
    about = {"evaluation_set": "ox", "protocol": "medium", "full": 0.7, "clean": 0.5, "placebo": placebo}
    rows = [
        {**about, "network": network, "query_id": f"q{number}", "landmark": number, "overlapping": number < 4}
        for network in NETWORKS
        for number in range(6)
    ]
    return as_table(rows, CHANGES)


def doses():
    rows = [
        {"network": "gem_small", "n_landmarks": n, "queries": kind, "n_queries": 3, "value": n / 9, "low": 0, "high": 1}
        for n in (0, 2, 5)
        for kind in ("given back", "other")
    ]
    return as_table(rows, DOSES)


CURVES = {("gem_small", "full"): [[(20, 9.0, None), (40, 7.0, 0.4)]], ("gem_small", "placebo-1"): [[(20, 9.5, 0.3)]]}
PHOTO = np.full((60, 80, 3), 90, dtype=np.uint8)
MAP = np.linspace(0, 1, 12).reshape(3, 4)


def attention(truth=None):
    return draw_attention(
        [AttentionView("a <b> & $c$ with a long name", PHOTO, MAP, MAP, MAP > 0.5, ((1, 1, 40, 30),), truth)] * 2
    )


def rankings(labels=("easy", "wrong")):
    return draw_rankings([RankingView("q", PHOTO, (1, 2, 30, 40), ((PHOTO, MAP),) * len(labels), labels)])


def embeddings(spread=1.0):
    points = spread * np.random.default_rng(0).normal(size=(12, 2))
    return draw_embeddings([EmbeddingView("easy", points, np.repeat([-1, 0, 7], 4))] * 4, columns=2)


DRAWN = {
    "effects": (
        lambda: draw_effects(effects(), protocol="medium"),
        lambda: draw_effects(effects(0.15), protocol="medium"),
    ),
    "changes": (lambda: draw_changes(changes(0.6)), lambda: draw_changes(changes(None))),
    "doses": (lambda: draw_doses(doses()), lambda: draw_doses(doses().slice(0, 4))),
    "curves": (lambda: draw_curves(CURVES), lambda: draw_curves(dict(list(CURVES.items())[:1]))),
    "attention": (attention, lambda: attention((5, 5, 70, 50))),
    "rankings": (rankings, lambda: rankings(("hard", "junk"))),
    "embeddings": (embeddings, lambda: embeddings(-1.0)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_a_picture_that_depends_on_what_it_shows_and_on_nothing_else(name):
    from PIL import Image

    draw, draw_other = DRAWN[name]
    png = draw()
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert 200 < picture.width < 1600
        assert picture.convert("L").getextrema()[0] < 100  # something is drawn
    assert png == draw()
    assert png != draw_other()
