"""Votes: made, written to a file, read from one, and simulated.

A vote file is CSV with the columns of `FILE_COLUMNS`, of which the first six are required. A row with empty query_id
and image_id is a vote on a text candidate. A file needs no queue and no photo: the items it votes on come with it. A
row with a reason in the column `VOIDED` is a vote that was declared void; it is passed over.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from overlap.base.errors import DataError
from overlap.base.sheets import read_rows, write_csv
from overlap.base.tables import ANSWERS, REVIEW_ITEMS, VOTES, WITHDRAWN, as_table, checked, parse_landmark_id
from overlap.review.ids import vote_id
from overlap.review.imports import Source
from overlap.review.known import Known, check_votes
from overlap.review.queue import GOLD_PREFIX, item
from overlap.review.store import ReviewStore, VoteRefusedError

REQUIRED_COLUMNS = ("evaluation_set", "query_id", "image_id", "landmark_id", "reviewer", "answer")
FILE_COLUMNS = (*REQUIRED_COLUMNS, "voted_at", "seconds", "note", "guideline_version", "supersedes")
VOIDED = "voided"

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Truth: TypeAlias = AbstractSet[tuple[str, str, str, int]]

_IS_DURATION = re.compile(r"[0-9]{1,10}(\.[0-9]*)?(e[+-]?[0-9]{1,2})?", re.ASCII).fullmatch
_LONGEST_S = 1e9
_MILLISECOND = timedelta(milliseconds=1)


def make_votes(
    items: pa.Table,
    answers: Sequence[str],
    *,
    reviewer: str,
    voted_at: datetime,
    seconds: float | None = None,
    note: str | None = None,
    guideline_version: str | None = None,
    supersedes: Mapping[str, str] | None = None,
) -> pa.Table:
    """Make the VOTES of one reviewer on some REVIEW_ITEMS, one answer an item.

    Args:
        items: REVIEW_ITEMS.
        answers: one of ANSWERS for each item, in order.
        voted_at: an instant with its time zone, kept to the millisecond.
        supersedes: by item_id, the vote_id of the reviewer's counting vote on it.
    """
    # An empty cell of a vote file is null, so that empty text would not come back; no text file holds a NUL.
    words = {"note": (note or "").replace("\0", "") or None, "guideline_version": guideline_version or None}
    said = {"reviewer": reviewer, "seconds": seconds, **words}
    replaced = supersedes or {}
    return _as_votes(
        [
            {**asked, **said, "answer": answer, "voted_at": voted_at, "supersedes": replaced.get(asked["item_id"])}
            for asked, answer in zip(checked(items, REVIEW_ITEMS).to_pylist(), answers, strict=True)
        ]
    )


def export_votes(store: ReviewStore, path: Path) -> int:
    """Write all votes of a store, superseded ones too, by time, then by what they are on; return their number.

    Equal sets of votes give equal files, and importing the file into an empty store gives the same votes. Where some
    are void, a last column says why, and importing passes them over.

    Raises:
        ArtifactError: the file can't be written.
    """
    votes, reasons = store.read_votes(), store.void_reasons()
    order = pa.array(range(len(votes)))
    keys = ("voted_at", *REQUIRED_COLUMNS[:5], "arrival")
    votes = votes.append_column("arrival", order).sort_by([(name, "ascending") for name in keys])
    why = pa.array([reasons.get(each) for each in votes["vote_id"].to_pylist()], pa.string())
    listed = votes.select(FILE_COLUMNS)
    write_csv(path, listed.append_column(VOIDED, why) if reasons else listed)
    return len(votes)


def import_votes(store: ReviewStore, path: Path, *, known: Known | None = None, source: Source | None = None) -> int:
    """Add the votes of a file with the items they are on, all or none; return how many were new, or brought back.

    A vote without ``voted_at`` counts as cast at 1970-01-01T00:00:00Z plus one millisecond for each row without it of
    the same reviewer on the same item further up, so that the same file always means the same votes and a later row
    supersedes an earlier one. A ``voted_at`` without time zone is UTC.

    Args:
        known: what votes can be about; without it the file is taken at its word.
        source: writes the import down, see `ReviewStore.merge_votes`.

    Raises:
        DataError: the file is not a vote file, or a vote is about something unknown; the message names the line.
    """
    lines, rows = _read_votes(path)
    try:
        if known is not None:
            check_votes(rows, known)
        return store.merge_votes(_items_of(rows), _as_votes(rows), source=source)
    except VoteRefusedError as error:
        raise DataError(f"{path} line {lines[error.row]}: {error.reason}; nothing was imported") from None


def claim_import(store: ReviewStore, path: Path, *, source: Source) -> int:
    """Write down the import of a vote file of before imports were written down, and return its number.

    Raises:
        DataError: the file is not a vote file.
        ReviewError: none of its votes is in the log, save those of the app and of known imports.
    """
    return store.claim(_as_votes(_read_votes(path)[1]), source=source)


def read_truth(path: Path) -> Truth:
    """Read what truly is the same: CSV of evaluation_set, query_id, image_id, landmark_id.

    An empty image_id, or no such column, stands for every photo of the landmark; an empty query_id as well for a text
    candidate, of any set. A column overlapping_landmark_ids, ids joined by blanks, may stand instead of landmark_id.

    Returns:
        (evaluation_set, query_id, image_id, landmark_id), empty text where the file's cell is empty.

    Raises:
        DataError: the file is not a truth file; the message names the line.
    """
    several = "overlapping_landmark_ids"
    truth = set()
    for line, cells in read_rows(path, ("evaluation_set", "query_id"), optional=("image_id", "landmark_id", several)):
        evaluation_set, query_id, image_id, landmark_id, landmark_ids = cells
        if image_id and not query_id:
            raise DataError(f"{path} line {line}: image_id {image_id!r} without query_id")
        for text in (landmark_id or landmark_ids).split():
            truth.add((evaluation_set if query_id else "", query_id, image_id, _landmark_id(path, line, text)))
    return truth


def simulate_votes(
    items: pa.Table, truth: Truth, *, reviewers: int = 3, error_rate: float = 0.0, seed: int
) -> pa.Table:
    """Answer every item as reviewers who know the truth, and who err now and then.

    Args:
        items: REVIEW_ITEMS.
        truth: as `read_truth` gives it.
        error_rate: the chance that an answer is turned round, drawn anew for each vote.

    Returns:
        VOTES of ``simulated-1`` and on, ``same`` or ``different``, a second apart from 1970-01-01; equal for equal
        input, whatever the order of the items.
    """
    ordered = checked(items, REVIEW_ITEMS).sort_by("item_id")
    same = np.array([_is_true(row, truth) for row in ordered.to_pylist()], dtype=bool)
    rng = np.random.default_rng(seed)
    votes = []
    for number in range(reviewers):
        answers = np.where(same ^ (rng.random(len(same)) < error_rate), "same", "different")
        moment = EPOCH + timedelta(seconds=number)
        votes.append(make_votes(ordered, answers.tolist(), reviewer=f"simulated-{number + 1}", voted_at=moment))
    return pa.concat_tables(votes) if votes else VOTES.empty_table()


def _is_true(row: Mapping[str, Any], truth: Truth) -> bool:
    asked = (row["evaluation_set"], row["query_id"] or "")
    whole = (*asked, "", row["landmark_id"])
    return whole in truth or (*asked, row["image_id"] or "", row["landmark_id"]) in truth


def _read_votes(path: Path) -> tuple[list[int], list[dict[str, Any]]]:
    lines, rows, void = [], [], []
    timeless: Counter[tuple[str, str]] = Counter()
    optional = (*FILE_COLUMNS[len(REQUIRED_COLUMNS) :], VOIDED)
    for line, (*cells, voided) in read_rows(path, REQUIRED_COLUMNS, optional=optional):
        row = _vote(path, line, cells)
        if row["voted_at"] is None:
            voter = (row["reviewer"], row["item_id"])
            row["voted_at"] = EPOCH + timeless[voter] * _MILLISECOND
            timeless[voter] += 1
        if voided.strip():
            void.append(row)
            continue
        lines.append(line)
        rows.append(row)
    passed_over = set(_as_votes(void)["vote_id"].to_pylist())
    for row in rows:
        row["supersedes"] = None if row["supersedes"] in passed_over else row["supersedes"]
    return lines, rows


def _vote(path: Path, line: int, cells: Sequence[str]) -> dict[str, Any]:
    evaluation_set, query_id, image_id, landmark_id, reviewer, answer, voted_at, seconds, *rest = cells
    if bool(query_id) != bool(image_id) or (query_id and not evaluation_set):
        raise DataError(
            f"{path} line {line}: a vote on a pair needs evaluation_set, query_id and image_id, a vote on a text "
            f"candidate neither query_id nor image_id; found {evaluation_set!r}, {query_id!r}, {image_id!r}"
        )
    if answer not in (*ANSWERS, WITHDRAWN):
        raise DataError(f"{path} line {line}: answer {answer!r} is not one of {', '.join(ANSWERS)}")
    origin = _origin(evaluation_set, query_id)
    number = _landmark_id(path, line, landmark_id, gold=origin == "gold")
    return item(evaluation_set, query_id, image_id, number, origin=origin, score=None) | {
        "evaluation_set": evaluation_set,
        "reviewer": reviewer,
        "answer": answer,
        "voted_at": _instant(path, line, voted_at),
        "seconds": _seconds(path, line, seconds),
        **dict(zip(FILE_COLUMNS[-3:], (cell or None for cell in rest), strict=True)),
    }


def _origin(evaluation_set: str, query_id: str) -> str:
    if not query_id:
        return "text"
    return "gold" if evaluation_set.startswith(GOLD_PREFIX) else "imported"


def _landmark_id(path: Path, line: int, text: str, *, gold: bool = False) -> int:
    below = gold and text.startswith("-")
    try:
        return -parse_landmark_id(text[1:]) if below else parse_landmark_id(text)
    except ValueError as error:
        raise DataError(f"{path} line {line}: {error}") from None


def _instant(path: Path, line: int, text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise DataError(
            f"{path} line {line}: voted_at {text!r} is not an instant such as 2026-01-31T12:00:00Z"
        ) from None


def _seconds(path: Path, line: int, text: str) -> float | None:
    if not text:
        return None
    if not _IS_DURATION(text) or not float(text) < _LONGEST_S:
        raise DataError(f"{path} line {line}: seconds {text!r} is not a duration such as 2.5")
    return float(text)


def _items_of(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    items = {row["item_id"]: {name: row[name] for name in REVIEW_ITEMS.names} for row in rows}
    for row in items.values():
        row["evaluation_set"] = row["evaluation_set"] if row["query_id"] else ""
    return as_table(list(items.values()), REVIEW_ITEMS)


def _as_votes(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    names = [name for name in VOTES.names if name != "vote_id"]
    columns = {name: pa.array([row[name] for row in rows], VOTES.field(name).type) for name in names}
    columns["seconds"] = pc.add(columns["seconds"], pa.scalar(0, pa.float32()))  # -0 is not kept by every database
    # What is hashed is what is kept: milliseconds, and seconds in float32.
    kept = (columns["voted_at"].cast(pa.int64()), pc.cast(columns["seconds"], pa.float64()))
    exact = zip(rows, *(column.to_pylist() for column in kept), strict=True)
    return checked(pa.table({**columns, "vote_id": pa.array([_hash(*vote) for vote in exact], pa.string())}), VOTES)


def _hash(row: Mapping[str, Any], voted_at_ms: int, seconds: float | None) -> str:
    return vote_id(
        row["item_id"],
        row["evaluation_set"],
        row["reviewer"],
        row["answer"],
        voted_at_ms=voted_at_ms,
        seconds=seconds,
        note=row["note"],
        guideline_version=row["guideline_version"],
    )
