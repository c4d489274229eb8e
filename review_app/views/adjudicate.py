"""Adjudicate, for leads: what would be removed and on whose word, and a second look before it is."""

import streamlit as st

from overlap.review.desk import ask_again
from overlap.review.reviewers import Reviewer
from overlap.review.summary import Standing, answers_by_item, find_standings
from review_app.access import COOKIE, read_session
from review_app.room import Room
from review_app.views.evidence import show_group
from review_app.views.outcomes import say_outcome


def show(room: Room, reviewer: Reviewer) -> None:
    """Show the page."""
    board = room.desk.board
    with room.desk.lock:
        board.refresh()
        standings = [each for each in find_standings(board) if each.yes]
        answers = answers_by_item(board)
    st.title("Adjudicate")
    st.caption(
        "Landmarks with a confirmed photo. A second look puts all groups of a landmark before every reviewer again."
    )
    disputed = [each for each in standings if each.outcome["disputed"]]
    alone = [each for each in standings if each.rests_on_one and not each.outcome["disputed"]]
    agreed = [each for each in standings if not each.rests_on_one and not each.outcome["disputed"]]
    tabs = st.tabs([f"On a single yes ({len(alone)})", f"Disputed ({len(disputed)})", f"Agreed ({len(agreed)})"])
    for tab, kind in zip(tabs, (alone, disputed, agreed), strict=True):
        with tab:
            for standing in kind:
                _show_landmark(room, reviewer, standing, answers)
            if not kind:
                st.write("None.")


def _ask_again(room: Room, landmark: int) -> None:
    # This runs before the page asks who is there: another tab may have logged out since it was shown.
    lead = read_session(room, st.context.cookies.get(COOKIE, ""))
    if lead is not None and lead.role == "lead":
        ask_again(room.desk, lead.name, landmark_id=landmark)


def _show_landmark(room: Room, reviewer: Reviewer, standing: Standing, answers: dict[int, dict[str, str]]) -> None:
    landmark = standing.landmark_id
    with st.container(border=True):
        words, button = st.columns([4, 1], vertical_alignment="center")
        words.text(room.gallery.names.get(landmark, "") or f"landmark {landmark}")
        words.text(f"landmark {landmark} · yes: {', '.join(standing.yes)} · no: {', '.join(standing.no) or 'nobody'}")
        for line in say_outcome(room, standing):
            words.text(line)
        button.button(
            "Asked again" if standing.asked_again else "Second look",
            key=f"look-{landmark}",
            on_click=lambda: _ask_again(room, landmark),
            width="stretch",
        )
        if st.toggle("Show the photos", key=f"photos-{landmark}"):
            for group in standing.groups:
                rows = room.desk.board.rows_of_group[group]
                show_group(room, reviewer, rows, {row: answers.get(row, {}) for row in rows})
