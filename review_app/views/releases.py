"""Releases: what 'overlap publish' wrote, with sizes, checksums and downloads."""

import streamlit as st

from overlap.review.reviewers import Reviewer
from review_app.api import checksum, release_files
from review_app.room import Room

_sum_of = st.cache_data(show_spinner="Checksums …", max_entries=500)(checksum)


def show(room: Room, reviewer: Reviewer) -> None:  # noqa: ARG001 (every page is shown alike)
    """Show the page."""
    st.title("Releases")
    files = release_files(room)
    if not files:
        st.info("There is no release yet: 'overlap publish' writes one from the votes.")
    for release in sorted({path.parent.name for path in files}, reverse=True):
        st.subheader(release, anchor=False)
        for path in (each for each in files if each.parent.name == release):
            name, size, sha, button = st.columns([2.2, 1, 6, 1.4], vertical_alignment="center")
            name.text(path.name)
            size.text(_size(path.stat().st_size))
            sha.code(_sum_of(path, path.stat().st_mtime_ns), language=None)
            button.link_button("Download", f"/downloads/{release}/{path.name}", width="stretch")


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:,.1f} kB"
