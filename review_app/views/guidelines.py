"""Guidelines: what each answer means, each with the examples that the photos at hand give."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from overlap.review.guidelines import CONFIRMS, GUIDELINE_VERSION, MEANINGS, WHOLE
from overlap.review.reviewers import Reviewer
from review_app.api import keys_of, picture_of
from review_app.examples import find_examples
from review_app.room import Room
from review_app.views.frames import show_pairs


def show(room: Room, reviewer: Reviewer) -> None:
    """Show the page."""
    st.title("What the answers mean")
    st.caption(f"Version {GUIDELINE_VERSION}; it is stored with every vote.")
    st.write("Decide by what the two photos show, not by what you think the computer found. " + CONFIRMS)
    st.write(WHOLE)
    examples = find_examples(room, reviewer)
    for number, (answer, (name, words)) in enumerate(MEANINGS.items(), start=1):
        st.subheader(f"{number} · {name}", anchor=False)
        st.write(words)
        show_pairs([_pair(room, reviewer, name, *example) for example in examples[answer]])
        if not examples[answer]:
            st.caption("No example yet: the ground truth knows none, and no two reviewers have agreed on one.")


def _pair(
    room: Room, reviewer: Reviewer, name: str, item: Mapping[str, Any], source: str
) -> tuple[str | None, str | None, str]:
    left, right = (picture_of(room, reviewer, key, "crop") for key in keys_of(room, item))
    return left, right, f"{name}: {source}"
