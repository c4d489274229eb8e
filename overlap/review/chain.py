"""The hash chain over the log of votes: each link hashes the one before and everything the next vote says."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

_SAID = (
    "vote_id",
    "item_id",
    "evaluation_set",
    "reviewer",
    "answer",
    "voted_at_ms",
    "seconds",
    "note",
    "guideline_version",
    "supersedes",
    "lease",
    "client_seq",
)


def link(before: str, vote: Mapping[str, Any]) -> str:
    """Return the SHA-256 that ties a row of the log to the chain before it; the first one follows empty text."""
    said = [before, *(vote.get(name) for name in _SAID)]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def chained(before: str, votes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with their ``chain``, in the order in which they will be in the log."""
    rows = []
    for vote in votes:
        before = link(before, vote)
        rows.append({**vote, "chain": before})
    return rows


def find_breaks(votes: Iterable[Mapping[str, Any]], *, n_votes: int, head: str, expect: str | None = None) -> list[str]:
    """Return what is wrong with a log, in words; nothing when every row is as it was written and none is missing.

    Args:
        votes: the rows of the log, in order, with ``chain``.
        n_votes: how many there should be.
        head: the last link there should be.
        expect: a link that must be among them, noted down by somebody who does not trust the database's own head.
    """
    before, n_found, breaks, links = "", 0, [], {""}
    for n_found, vote in enumerate(votes, start=1):
        if link(before, vote) != vote["chain"]:
            breaks.append(f"vote {n_found} ({vote['vote_id']}) was changed, or a vote before it is missing or new")
        before = vote["chain"]
        links.add(before)
    if n_found != n_votes:
        breaks.append(f"{n_found} votes are there and {n_votes} were written")
    elif before != head:
        breaks.append("the last vote is not the one that was written last")
    if expect is not None and expect not in links:
        breaks.append(f"the chain does not hold the expected link {expect}: the log was written anew")
    return breaks
