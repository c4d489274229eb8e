"""Entrance: what a person without a session sees where log-in by OpenID Connect is set up, and nothing else."""

import json
import time

import streamlit as st

from overlap.base.errors import ReviewError
from overlap.review.reviewers import find_by_email, has_ended
from review_app.access import make_ticket, name_session
from review_app.oidc import email_of, is_over
from review_app.room import Room


def show(room: Room) -> None:
    """Show how to log in, or let in whom the provider names and who is among the reviewers."""
    st.title("Landmark review")
    claims = dict(st.user.to_dict())
    session, store = name_session(claims), room.desk.board.store
    if not claims.get("is_logged_in") or is_over(claims, now_s=time.time()) or has_ended(store, session):
        _offer_login(room)
        return
    try:
        email = email_of(claims)
    except ReviewError as error:
        _refuse(str(error))
        return
    known = find_by_email(store, email)
    if known is None:
        _refuse(f"{email} is not among the reviewers. Whoever runs this review can add that address.")
        return
    st.text(f"Entering as {known.name} …")
    entry = f"<script>location.replace({json.dumps(make_ticket(room, known, session=session))})</script>"
    st.html(entry, unsafe_allow_javascript=True)


def _offer_login(room: Room) -> None:
    st.text("People look at what the computer matched. Log in to take part.")
    providers = room.auth.providers if room.auth else {}
    for words, name in providers.items():
        st.button(f"Log in with {words}", on_click=st.login, args=(name,), type="primary")
    st.html('<a href="/login" target="_self">Log in with a personal token</a>')


def _refuse(words: str) -> None:
    st.error(words.replace("$", "\\$"))
    st.button("Log in as somebody else", on_click=st.logout)
