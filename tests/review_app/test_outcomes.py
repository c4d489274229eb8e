"""What the app says of a landmark: whether it goes, why, and what beat it."""

from datetime import UTC, datetime

from overlap.base.tables import REVIEW_ITEMS, as_table
from overlap.decisions.rule import Rule
from overlap.review.board import Order, read_board
from overlap.review.queue import item
from overlap.review.store import open_store
from overlap.review.summary import find_standings
from overlap.review.votes import make_votes
from review_app.views.outcomes import say_outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_why_a_landmark_goes_or_stays_is_said_and_whether_votes_can_change_it(tmp_path):
    store = open_store(tmp_path / "v.sqlite")
    pairs = [("a", 1), ("b", 2), ("c", 2), ("d", 2)]
    rows = [item("s", "q", photo, landmark, origin="global", score=0.9) for photo, landmark in pairs]
    store.add_items(as_table(rows, REVIEW_ITEMS))
    board = read_board(store, rule=Rule(), order=Order(shared_share=0, gold_share=0))

    def vote(*photos):
        said = as_table([row for row in rows if row["image_id"] in photos], REVIEW_ITEMS)
        store.append_votes(make_votes(said, ["same"] * len(photos), reviewer="ann", voted_at=NOW))
        board.refresh()
        return {each.landmark_id: say_outcome({2: "Tower"}, each) for each in find_standings(board)}

    words = "at least 1 reviewer confirmed 1 photo of it for 1 query of s, and at least one query has none more often."
    assert vote("a")[1] == [f"Is removed, as things stand: {words}", "Of 1 item: 1 confirmed."]
    settled = vote("b", "c")
    assert settled[1] == [
        "Stays in: 1 item: 1 confirmed; landmark 2 has more confirmed photos of 1 query.",
        "Beaten for q of s (Tower 2).",
    ]
    assert settled[2][0].startswith(
        "Is removed: at least 1 reviewer confirmed at least 2 photos of it for 1 query of s"
    )
    assert settled[2][1] == "Of 3 items: 2 confirmed, 1 not asked."
