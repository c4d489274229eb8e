"""Example pairs for the guidelines, by answer: from the ground truth, and where that knows none, from agreed votes."""

from collections.abc import Mapping
from typing import Any

from overlap.base.tables import ANSWERS
from overlap.pipeline.desk import draw_examples
from overlap.review.reviewers import Reviewer
from overlap.review.summary import find_agreed, visible_rows
from review_app.room import Room

N_EXAMPLES = 2
TRUTH = "by the evaluation set's ground truth"
VOTES = "all reviewers who judged it said so"


def find_examples(room: Room, reviewer: Reviewer) -> dict[str, list[tuple[Mapping[str, Any], str]]]:
    """Return by answer up to two items for which it is right, and who says so.

    Those of the ground truth are none of the gold items that anybody is asked, so that none is given away; votes are
    used only where the reviewer may see them.
    """
    gold, _ = room.desk.board.store.read_gold()
    asked = set(zip(gold["query_id"].to_pylist(), gold["image_id"].to_pylist(), strict=True))
    known = draw_examples(room.config, n=N_EXAMPLES, without=asked)
    board = room.desk.board
    with room.desk.lock:
        board.refresh()
        agreed = {
            answer: [board.items[row] for row in rows]
            for answer, rows in find_agreed(board, visible_rows(board, reviewer)).items()
        }
    return {
        answer: [(item, TRUTH) for item in known.get(answer, [])]
        or [(item, VOTES) for item in agreed[answer][:N_EXAMPLES]]
        for answer in ANSWERS
    }
