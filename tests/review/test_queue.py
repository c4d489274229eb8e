"""The queue asks each question once, by an id that hashes it, in an order that does not depend on the input's."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from overlap.base.tables import CANDIDATES, REVIEW_ITEMS, VERIFIED, as_table
from overlap.review.queue import build_items


def verified(*rows):
    names = ("evaluation_set", "query_id", "image_id", "landmark_id", "score", "status")
    rest = {"n_matches": 9, "n_inliers": 8, "geometry": "homography", "matrix": None}
    return as_table([dict(zip(names, row, strict=True)) | rest for row in rows], VERIFIED)


def text(*landmark_ids):
    rest = {"evaluation_set": "", "query_id": None, "image_id": None, "rank": 0, "similarity": 1.0, "origin": "text"}
    return as_table([rest | {"landmark_id": landmark_id} for landmark_id in landmark_ids], CANDIDATES)


def test_pairs_at_the_threshold_are_asked_and_others_are_not():
    table = verified(
        ("s", "q", "a", 1, 0.7, "ok"),
        ("s", "q", "b", 1, float(np.nextafter(np.float32(0.7), np.float32(0))), "ok"),
        ("s", "q", "c", 1, 0.9, "watermark"),
        ("s", "q", "d", 1, float("nan"), "ok"),
    )
    items = build_items(table, text(), threshold=0.7)
    assert items["image_id"].to_pylist() == ["a"]
    assert items["origin"].to_pylist() == ["global"]


def test_order_groups_and_text():
    table = verified(
        ("t", "q", "a", 1, 0.9, "ok"),
        ("s", "q", "b", 2, 0.9, "ok"),
        ("s", "q", "c", 1, 0.8, "ok"),
        ("s", "q", "a", 2, 0.7, "ok"),
        ("s", "q", "a", 2, 0.8, "ok"),
    )
    items = build_items(table, text(9, 5, 9), threshold=0.5)
    assert items.schema.equals(REVIEW_ITEMS)
    asked = list(zip(*(items[name].to_pylist() for name in ("evaluation_set", "image_id", "landmark_id")), strict=True))
    assert asked == [("s", "c", 1), ("s", "a", 2), ("s", "b", 2), ("t", "a", 1), ("", None, 5), ("", None, 9)]
    groups = items["group_id"].to_pylist()
    assert groups[1] == groups[2]
    assert len(set(groups)) == 5
    assert np.float32(items["score"][1].as_py()) == np.float32(0.8)


ids = st.text("ab,\"'é", min_size=1, max_size=3)
rows = st.lists(st.tuples(ids, ids, ids, st.integers(0, 3), st.floats(0, 1, width=32), st.just("ok")), max_size=12)


@given(rows, st.lists(st.integers(0, 5), max_size=4), st.randoms())
def test_the_order_of_the_input_changes_nothing_and_ids_are_one_to_one(rows, landmark_ids, random):
    shuffled = random.sample(rows, len(rows))
    items = build_items(verified(*rows), text(*landmark_ids), threshold=0.25)
    assert items.equals(build_items(verified(*shuffled), text(*landmark_ids[::-1]), threshold=0.25))
    asked = {row[:4] for row in rows if row[4] >= 0.25} | set(landmark_ids)
    assert len(items) == len(set(items["item_id"].to_pylist())) == len(asked)


def test_an_empty_queue_is_a_table():
    items = build_items(VERIFIED.empty_table(), text(), threshold=0.5)
    assert isinstance(items, pa.Table)
    assert len(items) == 0
