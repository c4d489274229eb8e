"""Ids that are hashes of content: the same question has the same id in every run, the same vote in every file."""

import hashlib
import json

_canonical = json.JSONEncoder(separators=(",", ":")).encode


def item_id(evaluation_set: str, query_id: str | None, image_id: str | None, landmark_id: int) -> str:
    """Return the id of a question: is this what the photo shows, or, without query and photo, is it in any set?

    A text candidate is one question whatever evaluation set a file names with it.
    """
    if not query_id and not image_id:
        evaluation_set = ""
    return _digest("item", evaluation_set, query_id or "", image_id or "", landmark_id)


def group_id(evaluation_set: str, query_id: str | None, landmark_id: int) -> str:
    """Return the id of what a person sees at once: a query with the photos of one landmark."""
    return _digest("group", evaluation_set if query_id else "", query_id or "", landmark_id)


def vote_id(
    item: str,
    evaluation_set: str,
    reviewer: str,
    answer: str,
    *,
    voted_at_ms: int,
    seconds: float | None,
    note: str | None,
    guideline_version: str | None,
) -> str:
    """Return the id of a vote: a hash of all it says, save what it supersedes, which may be found at import."""
    return _digest(
        "vote", item, evaluation_set, reviewer, answer, voted_at_ms, seconds, note or "", guideline_version or ""
    )


def _digest(*parts: str | int | float | None) -> str:
    return hashlib.sha256(_canonical(parts).encode()).hexdigest()[:32]
