"""Photos side by side, from addresses that only this reviewer can fetch."""

import html
from collections.abc import Sequence

import streamlit as st

_STYLE = """<style>
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; margin: 0 0 .75rem; max-width: 56rem; }
.pair figure, .row figure { margin: 0; }
.pair img { width: 100%; height: 15rem; object-fit: contain; background: #8881; border-radius: .5rem; }
.pairs { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: 1.25rem; }
.pairs figure { display: grid; grid-template-columns: 1fr 1fr; gap: .35rem; margin: 0 0 .75rem; }
.pairs img { width: 100%; height: 11rem; object-fit: contain; background: #8881; border-radius: .5rem; }
.pairs figcaption { grid-column: 1 / -1; }
.row { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 .75rem; }
.row figure { width: 9.5rem; }
.row img { width: 100%; height: 7rem; object-fit: cover; border-radius: .5rem; }
figcaption { font-size: .8rem; opacity: .85; overflow-wrap: anywhere; }
</style>"""


def show_pair(left: str | None, right: str | None, *, captions: tuple[str, str]) -> None:
    """Show two photos large."""
    st.html(f'{_STYLE}<div class="pair">{_figure(left, captions[0])}{_figure(right, captions[1])}</div>')


def show_pairs(pairs: Sequence[tuple[str | None, str | None, str]]) -> None:
    """Show pairs of photos beside each other, each pair with its caption."""
    figures = "".join(
        f"<figure>{_photo(left, 'Query')}{_photo(right, 'Photo')}"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for left, right, caption in pairs
    )
    st.html(f'{_STYLE}<div class="pairs">{figures}</div>')


def show_row(photos: Sequence[tuple[str | None, str]]) -> None:
    """Show photos with their captions, small."""
    st.html(f'{_STYLE}<div class="row">{"".join(_figure(*photo) for photo in photos)}</div>')


def _figure(address: str | None, caption: str) -> str:
    return f"<figure>{_photo(address, caption)}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _photo(address: str | None, words: str) -> str:
    if address is None:
        return "<p>The photo is gone.</p>"
    return f'<img src="{html.escape(address)}" alt="{html.escape(words)}" loading="lazy">'
