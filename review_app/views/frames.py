"""Photos side by side, from addresses that only this reviewer can fetch."""

import html
from collections.abc import Sequence

import streamlit as st

_STYLE = """<style>
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; margin: 0 0 .75rem; max-width: 56rem; }
.pair figure, .row figure { margin: 0; }
.pair img { width: 100%; height: 15rem; object-fit: contain; background: #8881; border-radius: .5rem; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 .75rem; }
.row figure { width: 9.5rem; }
.row img { width: 100%; height: 7rem; object-fit: cover; border-radius: .5rem; }
figcaption { font-size: .8rem; opacity: .85; overflow-wrap: anywhere; }
</style>"""


def show_pair(left: str | None, right: str | None, *, captions: tuple[str, str]) -> None:
    """Show two photos large."""
    st.html(f'{_STYLE}<div class="pair">{_figure(left, captions[0])}{_figure(right, captions[1])}</div>')


def show_row(photos: Sequence[tuple[str | None, str]]) -> None:
    """Show photos with their captions, small."""
    st.html(f'{_STYLE}<div class="row">{"".join(_figure(*photo) for photo in photos)}</div>')


def _figure(address: str | None, caption: str) -> str:
    text = html.escape(caption)
    photo = (
        f'<img src="{html.escape(address)}" alt="{text}" loading="lazy">' if address else "<p>The photo is gone.</p>"
    )
    return f"<figure>{photo}<figcaption>{text}</figcaption></figure>"
