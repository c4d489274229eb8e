"""Evidence: a landmark's matched photos and what was said, of what the reader has no vote to give on any more."""

import streamlit as st

from overlap.review.reviewers import Reviewer
from overlap.review.summary import Standing, answers_by_item, find_standings, visible_rows
from review_app.api import keys_of, picture_of
from review_app.room import Room
from review_app.views.frames import show_pair, show_row
from review_app.views.outcomes import say_outcome

_MOST_PHOTOS = 24
_ASKED = {"closure": "As kin of a confirmed landmark", "audit": "In the audit of kept landmarks"}


def show(room: Room, reviewer: Reviewer) -> None:
    """Show the page."""
    board = room.desk.board
    with room.desk.lock:
        board.refresh()
        visible = visible_rows(board, reviewer)
        standings = find_standings(board)
        answers = answers_by_item(board)
    st.title("Evidence")
    st.caption(
        "You see what others said only of what you have answered yourself; leads, of all that waits for them no more."
    )
    seen = [each for each in standings if _rows(room, each, visible)]
    if not seen:
        st.info("There is nothing yet: answer some groups first.")
        return
    chosen = st.selectbox("Landmark", seen, format_func=lambda each: _label(room, each))
    if chosen is None:
        return
    if reviewer.role == "lead":
        for line in say_outcome(room, chosen):
            st.text(line)
    for group in chosen.groups:
        rows = [row for row in board.rows_of_group[group] if row in visible]
        if rows:
            show_group(room, reviewer, rows, {row: answers.get(row, {}) for row in rows})


def show_group(room: Room, reviewer: Reviewer, rows: list[int], answers: dict[int, dict[str, str]]) -> None:
    """Show the query beside the best photo, the other photos below, and the votes on each."""
    items = [room.desk.board.items[row] for row in rows]
    words = [_said(answers[row]) for row in rows]
    if items[0]["query_id"] is None:
        st.text(f"{_ASKED.get(items[0]['origin'], 'By its name')}: {words[0]}")
        photos = room.gallery.of_landmark.get(items[0]["landmark_id"], ())[:_MOST_PHOTOS]
        show_row([(picture_of(room, reviewer, key, "small"), "") for key in photos])
        return
    query, photo = keys_of(room, items[0])
    st.text(f"{items[0]['evaluation_set']}: {items[0]['query_id']}")
    captions = (items[0]["query_id"], f"{items[0]['image_id']} · {words[0]}")
    show_pair(picture_of(room, reviewer, query, "crop"), picture_of(room, reviewer, photo, "crop"), captions=captions)
    others = list(zip(items[1:], words[1:], strict=True))[:_MOST_PHOTOS]
    if others:
        show_row([(picture_of(room, reviewer, keys_of(room, item)[1], "small"), said) for item, said in others])


def _rows(room: Room, standing: Standing, visible: set[int]) -> list[int]:
    return [row for group in standing.groups for row in room.desk.board.rows_of_group[group] if row in visible]


def _label(room: Room, standing: Standing) -> str:
    name = room.gallery.names.get(standing.landmark_id, "")
    return f"{name or 'landmark'} ({standing.landmark_id})"


def _said(answers: dict[str, str]) -> str:
    return ", ".join(f"{name}: {answer.replace('_', ' ')}" for name, answer in sorted(answers.items())) or "no vote"
