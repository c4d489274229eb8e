"""The hash chain over the log of votes: each link hashes the one before and everything the next entry says.

An entry is a vote, an import of a vote file, or the declaration that such an import is void.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

_VOTE = (
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
# A vote says no kind, so that chains from before there were other entries hold.
_SAID: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "vote": _VOTE,
        "import": ("kind", "number", "file", "file_sha256", "n_votes", "votes_sha256", "who", "at_ms", "after"),
        "void": ("kind", "number", "import_number", "reason", "who", "at_ms", "after"),
    }
)


def link(before: str, entry: Mapping[str, Any]) -> str:
    """Return the SHA-256 that ties an entry of the log to the chain before it; the first one follows empty text."""
    said = [before, *(entry.get(name) for name in _SAID[entry.get("kind", "vote")])]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def chained(before: str, votes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with their ``chain``, in the order in which they will be in the log."""
    rows = []
    for vote in votes:
        before = link(before, vote)
        rows.append({**vote, "chain": before})
    return rows


def find_breaks(
    entries: Iterable[Mapping[str, Any]], *, n_votes: int, head: str, expect: str | None = None
) -> list[str]:
    """Return what is wrong with a log, in words; nothing when every entry is as it was written and none is missing.

    Args:
        entries: the entries of the log, in order, with ``chain``; those that are no votes with ``kind``.
        n_votes: how many votes there should be.
        head: the last link there should be.
        expect: a link that must be among them, noted down by somebody who does not trust the database's own head.
    """
    before, n_found, breaks, links = "", 0, [], {""}
    for entry in entries:
        n_found += "kind" not in entry
        if link(before, entry) != entry["chain"]:
            breaks.append(
                f"{_name(entry, n_found)} was changed, or a vote before it is missing or new, or an import or void"
            )
        before = entry["chain"]
        links.add(before)
    if n_found != n_votes:
        breaks.append(f"{n_found} votes are there and {n_votes} were written")
    elif before != head:
        breaks.append("the last vote is not the one that was written last")
    if expect is not None and expect not in links:
        breaks.append(f"the chain does not hold the expected link {expect}: the log was written anew")
    return breaks


def _name(entry: Mapping[str, Any], n_votes: int) -> str:
    return f"{entry['kind']} {entry['number']}" if "kind" in entry else f"vote {n_votes} ({entry['vote_id']})"
