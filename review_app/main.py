"""The review app: what every page shares, and the pages. `overlap review` starts it."""

import html

import streamlit as st

from review_app.access import COOKIE, read_session
from review_app.room import current_room
from review_app.views import adjudicate, entrance, evidence, guidelines, progress, releases, vote

st.set_page_config(page_title="Landmark review", layout="wide", initial_sidebar_state="collapsed")
st.html("<style>.stMainBlockContainer { padding-top: 3.6rem; }</style>")
room = current_room()
signed_in = read_session(room, st.context.cookies.get(COOKIE, ""))
if signed_in is None:
    entrance.show(room)
    st.stop()

reviewer = signed_in

st.html(
    "<style>.leave { position: fixed; top: 1.05rem; right: 3.5rem; z-index: 1000000; opacity: .85; max-width: 16rem;"
    " font-size: .85rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }"
    ".leave a { color: inherit; }</style>"
    f'<span class="leave">{html.escape(reviewer.name)} · <a href="/logout" target="_self">Log out</a></span>'
)
pages = [
    st.Page(lambda: vote.show(room, reviewer), title="Vote", url_path="vote", default=True),
    st.Page(lambda: guidelines.show(room, reviewer), title="Guidelines", url_path="guidelines"),
    st.Page(lambda: progress.show(room, reviewer), title="Progress", url_path="progress"),
    st.Page(lambda: evidence.show(room, reviewer), title="Evidence", url_path="evidence"),
    st.Page(lambda: releases.show(room, reviewer), title="Releases", url_path="releases"),
]
if reviewer.role == "lead":
    page = st.Page(lambda: adjudicate.show(room, reviewer), title="Adjudicate", url_path="adjudicate")
    pages.insert(4, page)
st.navigation(pages, position="top").run()
