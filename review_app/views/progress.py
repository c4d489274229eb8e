"""Progress: what waits, who did what, how far reviewers agree and err."""

import math

import pandas as pd
import streamlit as st

from overlap.base.tables import ANSWERS
from overlap.review.agreement import Estimate, confusion
from overlap.review.reviewers import Reviewer
from overlap.review.summary import Summary, answers_by_item, summarise
from review_app.room import Room


def show(room: Room, reviewer: Reviewer) -> None:
    """Show the page; figures on other people are for leads."""
    board = room.desk.board
    with room.desk.lock:
        board.refresh()
        summary = summarise(board, confirms=board.store.read_gold()[1])
        answers = [each for _, each in sorted(answers_by_item(board).items())]
    is_lead = reviewer.role == "lead"
    st.title("Progress")
    _show_totals(summary)
    _show_work(summary, reviewer, is_lead=is_lead)
    st.subheader("Agreement")
    st.caption("Over the groups that go to every reviewer. 1 is perfect, 0 is chance; 95 % intervals.")
    _show_agreement(summary)
    st.subheader("Gold items")
    st.caption("Pairs whose answer the evaluation sets' own ground truth knows, mixed in unseen.")
    _show_gold(summary, reviewer, is_lead=is_lead)
    if is_lead and len(board.said) > 1:
        _show_confusion(answers, sorted(board.said))


def _show_totals(summary: Summary) -> None:
    st.text(f"The review is {summary.review}.")
    states = ", ".join(f"{n:,} {state.replace('_', ' ')}" for state, n in summary.states.items())
    st.caption(f"Pairs and names: {states}. Nobody is asked about more than can change what is published.")
    columns = st.columns(4)
    columns[0].metric("Pairs and names", f"{summary.n_items:,}")
    columns[1].metric("Groups", f"{summary.n_groups:,}")
    columns[2].metric("Decisions so far", f"{summary.n_answers:,}")
    share = min(summary.n_answers / summary.n_full, 1) if summary.n_full else 0
    columns[3].metric(
        "Share of judging everything", f"{share:.0%}", help=f"{summary.n_full:,}: every pair by every reviewer"
    )


def _show_work(summary: Summary, reviewer: Reviewer, *, is_lead: bool) -> None:
    rows = [
        {
            "reviewer": work.reviewer,
            "decisions": work.n_answers,
            "votes on pairs": work.n_votes,
            "decisions a minute": _number(work.per_minute),
            "groups that wait": work.n_waiting,
            "minutes left": _number(work.minutes_left),
        }
        for work in summary.work
        if is_lead or work.reviewer == reviewer.name
    ]
    if not rows:
        st.info("You have not voted yet.")
        return
    st.dataframe(pd.DataFrame(rows), hide_index=True)


def _show_agreement(summary: Summary) -> None:
    rows = [
        {"kind": each.kind, "items": each.kappa.n, "Fleiss' κ": _figure(each.kappa), "Gwet's AC1": _figure(each.ac1)}
        for each in summary.agreement
        if each.kappa.n
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True)
    else:
        st.write("Nothing was judged by two reviewers yet.")


def _show_gold(summary: Summary, reviewer: Reviewer, *, is_lead: bool) -> None:
    rows = [
        {
            "reviewer": name,
            "known same, confirmed": _figure(figures.sensitivity, share=True),
            "known different, rejected": _figure(figures.specificity, share=True),
        }
        for name, figures in summary.gold.items()
        if is_lead or name == reviewer.name
    ]
    if rows:
        st.dataframe(pd.DataFrame(rows), hide_index=True)
    else:
        st.write("No gold item was answered yet.")
    if is_lead and not math.isnan(summary.false_confirmed):
        st.warning(
            f"Estimated from these: {summary.false_confirmed:.1%} of different pairs that all reviewers judge are "
            "confirmed by mistake. The Adjudicate page offers a second look."
        )


def _show_confusion(answers: list[dict[str, str]], names: list[str]) -> None:
    st.subheader("Who says what")
    first, second = st.columns(2)
    one = first.selectbox("Rows", names, index=0)
    other = second.selectbox("Columns", names, index=1)
    st.dataframe(pd.DataFrame(confusion(answers, one, other), index=ANSWERS, columns=ANSWERS))


def _figure(figure: Estimate, *, share: bool = False) -> str:
    if math.isnan(figure.value):
        return "–" if not figure.n else "not defined"
    if share:
        return f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%}), n = {figure.n}"
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})"


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"
