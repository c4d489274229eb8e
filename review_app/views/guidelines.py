"""Guidelines: what each answer means, with examples that the world at hand gives."""

import streamlit as st

from overlap.review.guidelines import CONFIRMS, GUIDELINE_VERSION, MEANINGS
from overlap.review.reviewers import Reviewer
from review_app.api import keys_of, picture_of
from review_app.examples import find_examples
from review_app.room import Room
from review_app.views.frames import show_pair


def show(room: Room, reviewer: Reviewer) -> None:
    """Show the page."""
    st.title("What the answers mean")
    st.caption(f"Version {GUIDELINE_VERSION}; it is stored with every vote.")
    st.write("Decide by what the two photos show, not by what you think the computer found. " + CONFIRMS)
    for number, (name, words) in enumerate(MEANINGS.values(), start=1):
        st.subheader(f"{number} · {name}")
        st.write(words)
    st.header("Examples")
    examples = find_examples(room)
    if not examples:
        st.write("The evaluation sets' ground truth gives no examples here.")
    for word, item in examples:
        left, right = (picture_of(room, reviewer, key, "crop") for key in keys_of(room, item))
        show_pair(left, right, captions=(word, "both from the evaluation set, by its own ground truth"))
