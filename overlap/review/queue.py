"""Verified pairs, text candidates and other landmarks judged as a whole to the questions that people answer."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.tables import CANDIDATES, REVIEW_ITEMS, VERIFIED, as_table, checked
from overlap.decisions.items import believed
from overlap.review.ids import group_id, item_id

GOLD_PREFIX = "gold:"
"""Before the evaluation set's name in the items whose answer is known; no evaluation set's own name has a colon."""


def build_items(verified: pa.Table, text: pa.Table, *, threshold: float) -> pa.Table:
    """Build the review queue: pairs of status ok at or above the threshold, and text candidates.

    Args:
        verified: VERIFIED, in any order; a pair that is there twice is asked once, with its highest score.
        text: CANDIDATES of origin ``text``.
        threshold: least score, compared in the scores' own float32.

    Returns:
        REVIEW_ITEMS: pairs by evaluation set, query, landmark and photo, then text candidates by landmark.
    """
    rows: dict[str, dict[str, object]] = {}
    pairs = believed(checked(verified, VERIFIED), threshold=threshold).sort_by([("score", "descending")])
    columns = ("evaluation_set", "query_id", "image_id", "landmark_id", "score")
    for *asked, score in zip(*(pairs[name].to_pylist() for name in columns), strict=True):
        row = item(*asked, origin="global", score=score)
        rows.setdefault(str(row["item_id"]), row)
    for landmark_id in checked(text, CANDIDATES)["landmark_id"].to_pylist():
        row = item("", None, None, landmark_id, origin="text", score=None)
        rows.setdefault(str(row["item_id"]), row)
    return sorted_items(as_table(list(rows.values()), REVIEW_ITEMS))


def item(
    evaluation_set: str,
    query_id: str | None,
    image_id: str | None,
    landmark_id: int,
    *,
    origin: str,
    score: float | None,
) -> dict[str, object]:
    """Return one row of REVIEW_ITEMS; the evaluation set of a text candidate is left empty."""
    return {
        "item_id": item_id(evaluation_set, query_id, image_id, landmark_id),
        "group_id": group_id(evaluation_set, query_id, landmark_id),
        "evaluation_set": evaluation_set if query_id else "",
        "query_id": query_id or None,
        "image_id": image_id or None,
        "landmark_id": landmark_id,
        "origin": origin,
        "score": score,
    }


def sorted_items(items: pa.Table) -> pa.Table:
    """Sort REVIEW_ITEMS: pairs by evaluation set, query, landmark and photo, then text candidates by landmark."""
    keys = [(name, "ascending") for name in ("evaluation_set", "query_id", "landmark_id", "image_id")]
    pairs = items.filter(pc.is_valid(items["query_id"])).sort_by(keys)
    text = items.filter(pc.is_null(items["query_id"])).sort_by("landmark_id")
    return pa.concat_tables([pairs, text])


def find_changed_items(items: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return in words which items no longer ask what their id says they ask."""
    breaks = []
    for row in items:
        asked = (row["evaluation_set"], row["query_id"], row["image_id"], row["landmark_id"])
        grouped = (row["evaluation_set"], row["query_id"], row["landmark_id"])
        if row["item_id"] != item_id(*asked) or row["group_id"] != group_id(*grouped):
            breaks.append(f"item {row['item_id']} was changed: it asks something else than its id says")
    return breaks
