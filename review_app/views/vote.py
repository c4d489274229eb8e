"""Vote: one group at a time, by keyboard. The work is done by viewer.js and the routes it calls."""

from pathlib import Path

import streamlit as st

from overlap.review.reviewers import Reviewer
from review_app.room import Room

_FOLDER = Path(__file__).parents[1]
_viewer = st.components.v2.component(
    "overlap_viewer",
    html='<div class="mount"></div>',
    css=(_FOLDER / "viewer.css").read_text(encoding="utf-8"),
    js=(_FOLDER / "viewer.js").read_text(encoding="utf-8"),
)


def show(room: Room, reviewer: Reviewer) -> None:  # noqa: ARG001 (every page is shown alike)
    """Show the page."""
    st.html("<style>.stMainBlockContainer { padding: 3.4rem 1.2rem 0 1.2rem; }</style>")
    _viewer(key="viewer", data={"reviewer": reviewer.name})
