"""Example pairs for the guidelines: gold items beyond those that anybody is asked, so that none is given away."""

from collections.abc import Mapping
from typing import Any

from overlap.steps.desk import draw_examples
from review_app.room import Room


def find_examples(room: Room) -> list[tuple[str, Mapping[str, Any]]]:
    """Return an answer's name and a pair that it is right for: two same, two different."""
    gold, _ = room.desk.board.store.read_gold()
    known = set(zip(gold["query_id"].to_pylist(), gold["image_id"].to_pylist(), strict=True))
    return [("Same" if confirms else "Different", item) for item, confirms in draw_examples(room.config, without=known)]
