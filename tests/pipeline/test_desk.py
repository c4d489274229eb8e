"""What the review app draws: gold items and examples by the letter of the ground truth, and inliers on demand."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overlap.base.config import Config, load_config
from overlap.base.tables import REVIEW_ITEMS, as_table
from overlap.datasets.sets import EvaluationSet, QueryTruth
from overlap.pipeline import desk
from overlap.pipeline.desk import draw_examples, draw_gold, open_lines
from overlap.pipeline.photos import read_photos
from overlap.pipeline.verify import open_features, read_verified
from overlap.review.queue import GOLD_PREFIX, item, sorted_items

LABELS = ("easy", "hard", "junk", "none")


@st.composite
def labels(draw):
    """Draw for each of some queries and photos what the ground truth says."""
    n_queries, n_photos = draw(st.integers(0, 4)), draw(st.integers(1, 9))
    row = st.lists(st.sampled_from(LABELS), min_size=n_photos, max_size=n_photos)
    return draw(st.lists(row, min_size=n_queries, max_size=n_queries))


def set_of(labels):
    rows = [{name: [n for n, each in enumerate(said) if each == name] for name in LABELS} for said in labels]
    truths = [QueryTruth(*(np.array(row[name], np.int64) for name in LABELS[:3])) for row in rows]
    # A query may be one of the photos, as in the classic sets.
    queries = ["p0" if n == 0 else f"q{n}" for n in range(len(labels))]
    photos = [f"p{n}" for n in range(len(labels[0]) if labels else 1)]
    return EvaluationSet("set", pa.table({"image_id": queries}), pa.table({"image_id": photos}), tuple(truths))


def answers_of(labels):
    """Restate by the definition which answer is known, as a dictionary by query and photo."""
    positive = [{n for n, each in enumerate(said) if each in ("easy", "hard")} for said in labels]
    kin = np.array([[bool(a & b) or i == j for j, b in enumerate(positive)] for i, a in enumerate(positive)], bool)
    for _ in labels:  # what hangs together over others
        kin = (kin.astype(int) @ kin.astype(int)) > 0
    known = {}
    for q, n in product(range(len(labels)), range(len(labels[0]) if labels else 0)):
        query = "p0" if q == 0 else f"q{q}"
        if query == f"p{n}":
            continue
        first = [o for o, said in enumerate(labels) if n in [m for m, each in enumerate(said) if each == "easy"][:3]]
        if labels[q][n] == "easy":
            known[query, f"p{n}"] = "same"
        elif labels[q][n] == "junk":
            known[query, f"p{n}"] = "unsure"
        elif labels[q][n] == "none" and any(not kin[q, o] for o in first):
            known[query, f"p{n}"] = "different"
    return known


class Store:
    """The part of a review store that gold is kept in, in memory."""

    def __init__(self, n_groups):
        rows = [item("set", f"q{n}", f"t{n}", n, origin="global", score=0.5) for n in range(n_groups)]
        self.items, self.gold = sorted_items(as_table(rows, REVIEW_ITEMS)), (REVIEW_ITEMS.empty_table(), {})

    def read_items(self):
        return self.items

    def read_gold(self):
        return self.gold

    def add_gold(self, items, confirms):
        self.gold = (items, dict(zip(items["item_id"].to_pylist(), confirms, strict=True)))


@pytest.fixture
def drawing(monkeypatch):
    """Return what draws gold for labels beside a queue of some groups."""

    def draw(labels, *, gold_share=0.1, n_groups=4, seed=0):
        monkeypatch.setattr(desk, "read_evaluation_set", lambda _: set_of(labels))
        config = SimpleNamespace(evaluation=["set"], review=SimpleNamespace(gold_share=gold_share, seed=seed))
        store = Store(n_groups)
        return config, store, draw_gold(config, store)

    return draw


def gold_of(store):
    """Return by query and photo whether the known answer confirms."""
    table, confirms = store.read_gold()
    rows = table.to_pylist()
    assert {row["evaluation_set"] for row in rows} <= {f"{GOLD_PREFIX}set"}
    assert len({row["landmark_id"] for row in rows}) == len(rows)
    assert all(row["landmark_id"] < 0 for row in rows)
    return {(row["query_id"], row["image_id"]): confirms[row["item_id"]] for row in rows}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels())
def test_gold_and_examples_are_what_the_ground_truth_knows(drawing, labels):
    config, store, n_gold = drawing(labels)
    known, gold = answers_of(labels), gold_of(store)
    assert n_gold == len(gold)
    for answer, confirms in (("same", True), ("different", False)):
        drawn = [pair for pair, each in gold.items() if each is confirms]
        candidates = [pair for pair, each in known.items() if each == answer]
        assert len(drawn) == min(5, len(candidates))
        assert set(drawn) <= set(candidates)
    examples = draw_examples(config, n=2, without=set(gold))
    for answer in ("same", "different", "unsure"):
        candidates = {pair for pair, each in known.items() if each == answer} - set(gold)
        shown = [(row["query_id"], row["image_id"]) for row in examples[answer]]
        assert len(set(shown)) == len(shown) == min(2, len(candidates))
        assert set(shown) <= candidates


TWO = [["easy"] * 4 + ["none"] * 5, ["none"] * 5 + ["easy"] * 4]


def test_gold_is_drawn_once_by_the_seed_and_its_number_follows_the_queue(drawing):
    config, store, n_gold = drawing(TWO)
    assert draw_gold(config, store) == n_gold
    assert gold_of(drawing(TWO)[1]) == gold_of(store)
    many = [["easy"] * 40 + ["none"] * 40, ["none"] * 40 + ["easy"] * 40]
    assert any(gold_of(drawing(many, seed=seed)[1]) != gold_of(drawing(many)[1]) for seed in (1, 2))
    assert drawing(many, n_groups=100)[2] == 20 // 2 + 6  # 79 same and 2 x 3 different are known
    assert drawing(TWO, gold_share=0)[2] == 0


def test_another_view_of_a_landmark_is_not_known_to_be_different(drawing):
    """Front and back share one photo from the corner: neither's photos are gold for the other."""
    front = ["easy", "easy", "hard", "none", "none", "none"]
    back = ["none", "none", "hard", "easy", "easy", "none"]
    _, store, _ = drawing([["none"] * 5 + ["easy"], front, back])
    different = {pair for pair, confirms in gold_of(store).items() if not confirms}
    assert {("q1", "p5"), ("q2", "p5")} <= different
    assert not different & set(product(("q1",), ("p3", "p4"))) | different & set(product(("q2",), ("p0", "p1")))


@pytest.fixture(scope="module")
def curated_world(tmp_path_factory, copy_curated) -> Config:
    return load_config(copy_curated(tmp_path_factory.mktemp("desk"), "demo"))


def test_lines_are_the_inliers_that_verified_the_pair(curated_world):
    config = curated_world
    rows = [row for row in read_verified(config).to_pylist() if row["status"] == "ok"]
    rows = sorted(rows, key=lambda row: -row["n_inliers"])[:3] + sorted(rows, key=lambda row: row["n_inliers"])[:2]
    read, find = open_features(config), open_lines(config)
    for row in rows:
        keys = (row["evaluation_set"], row["query_id"]), (config.train.format, row["image_id"])
        lines = find(*keys)
        assert len(lines.query_xy) == len(lines.photo_xy) == row["n_inliers"]
        for shares, key in zip((lines.query_xy, lines.photo_xy), keys, strict=True):
            assert ((shares >= 0) & (shares <= 1)).all()
            features = read(key)
            known = {tuple(xy) for xy in np.round(features.xy_px.astype(np.float64), 3).tolist()}
            assert {tuple(xy) for xy in np.round(shares * features.size_px, 3).tolist()} <= known


def test_a_photo_without_features_has_no_lines(curated_world, monkeypatch):
    photo = read_photos(curated_world, "train")["image_id"][0].as_py()
    keys = ("oxsynth", "gone"), (curated_world.train.format, photo)
    read = open_features(curated_world)
    monkeypatch.setattr(desk, "open_features", lambda _: lambda key: None if key[1] == "gone" else read(key))
    lines = open_lines(curated_world)(*keys)
    assert lines.query_xy.shape == lines.photo_xy.shape == (0, 2)
