"""What happens at a reviewer's desk: the next group, an answer, a skip, an undo, a second look."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from overlap.base.errors import ReviewError
from overlap.base.tables import ANSWERS, WITHDRAWN
from overlap.review.board import Board, items_table
from overlap.review.guidelines import GUIDELINE_VERSION
from overlap.review.leases import admit, find_leased, read_skips, skip_group, take_lease
from overlap.review.schema import SECOND_LOOKS
from overlap.review.votes import make_votes


class NotThereError(ReviewError):
    """A group or item that is named does not exist."""


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Task:
    """One showing of a group to a reviewer.

    Args:
        items: rows of REVIEW_ITEMS that wait for the reviewer's answer, the best match first.
        upcoming: the items of the group that will likely be next, to have its pictures ready.
        n_waiting: how many groups wait for the reviewer, this one among them.
    """

    group_id: str
    lease: str
    items: tuple[Mapping[str, Any], ...]
    upcoming: tuple[Mapping[str, Any], ...]
    n_waiting: int


@dataclass(frozen=True)
class Desk:
    """Hold the board, and let one request at a time use it; the database is what keeps votes safe."""

    board: Board
    lease_minutes: int = 30
    clock: Callable[[], int] = now_ms
    lock: threading.Lock = field(default_factory=threading.Lock)


def next_task(desk: Desk, reviewer: str, *, group_id: str | None = None) -> Task | None:
    """Show the reviewer a group: the given one if it has anything open, else the next; None when nothing waits.

    Raises:
        NotThereError: there is no such group.
    """
    board, now = desk.board, desk.clock()
    with desk.lock:
        board.refresh()
        if group_id is not None:
            check_group(board, group_id)
        skips = read_skips(board.store, reviewer)
        groups = board.next_groups(reviewer, busy=find_leased(board.store, now_ms=now), skips=skips, n=3)
        if group_id is not None and board.open_rows(reviewer, group_id):
            groups = [group_id, *(group for group in groups if group != group_id)]
        if not groups:
            return None
        lease = take_lease(board.store, reviewer, groups[0], now_ms=now, minutes=desk.lease_minutes)
        shown = [tuple(board.items[row] for row in board.open_rows(reviewer, group)) for group in groups[:2]]
        upcoming = shown[1] if len(shown) > 1 else ()
        return Task(groups[0], lease, shown[0], upcoming, max(board.n_waiting(reviewer), 1))


def answer_task(
    desk: Desk,
    reviewer: str,
    *,
    group_id: str,
    lease: str,
    client_seq: int,
    answers: Mapping[str, str],
    seconds: float | None = None,
    note: str | None = None,
) -> int:
    """Record the answers to a showing, by item_id, all or none; they are on disk when this returns.

    Returns:
        The number of votes added: 0 when the same showing was answered before with this client_seq.

    Raises:
        NotThereError: there is no such group or item.
        ReviewError: the lease or an item is not of this showing, or an answer is not a known one.
    """
    board, now = desk.board, desk.clock()
    unknown = sorted(set(answers.values()) - set(ANSWERS))
    if unknown or not answers:
        raise ReviewError(f"answer {unknown[0] if unknown else None!r} is not one of {', '.join(ANSWERS)}")
    with desk.lock:
        board.refresh()
        check_group(board, group_id)
        rows = [find_row(board, item) for item in answers]
        if any(board.items[row]["group_id"] != group_id for row in rows):
            raise ReviewError("an answer is on a photo that is not in this group; load the page again")
        votes = make_votes(
            items_table(board, rows),
            list(answers.values()),
            reviewer=reviewer,
            voted_at=datetime.fromtimestamp(now / 1000, UTC),
            seconds=seconds,
            note=note,
            guideline_version=GUIDELINE_VERSION,
            supersedes=board.store.last_votes_of(reviewer, list(answers)),
        )

        def may(connection: sa.Connection) -> bool:
            return admit(
                connection, lease, reviewer=reviewer, group_id=group_id, client_seq=client_seq, now_ms=desk.clock()
            )

        added = board.store.answer(votes, lease=lease, client_seq=client_seq, admit=may)
        mine = board.said[reviewer]
        if not added and any(mine[row].answer != answer for row, answer in zip(rows, answers.values(), strict=True)):
            raise ReviewError("another answer to this was recorded before; undo it, or look at it again")
        return added


def skip_task(desk: Desk, reviewer: str, *, group_id: str) -> None:
    """Put the group at the end of the reviewer's queue.

    Raises:
        NotThereError: there is no such group.
    """
    with desk.lock:
        desk.board.refresh()
        check_group(desk.board, group_id)
        skip_group(desk.board.store, reviewer, group_id, now_ms=desk.clock())


def undo(desk: Desk, reviewer: str) -> str | None:
    """Withdraw the reviewer's last answer and return its group, to be shown again; None when there is none.

    Nothing is deleted: votes of ``withdrawn`` supersede those of the answer. Calling it again goes further back.
    """
    board = desk.board
    with desk.lock:
        board.refresh()
        rows = board.last_showing(reviewer)
        if not rows:
            return None
        items = items_table(board, rows)
        votes = make_votes(
            items,
            [WITHDRAWN] * len(rows),
            reviewer=reviewer,
            voted_at=datetime.fromtimestamp(desk.clock() / 1000, UTC),
            supersedes={board.items[row]["item_id"]: board.said[reviewer][row].vote_id for row in rows},
        )
        board.store.append_votes(votes)
        return str(board.items[rows[0]]["group_id"])


def ask_again(desk: Desk, lead: str, *, landmark_id: int) -> None:
    """Put all groups of a landmark before every reviewer once more; votes stay until they are superseded."""
    with desk.board.store.writing() as connection:
        connection.execute(sa.delete(SECOND_LOOKS).where(SECOND_LOOKS.c.landmark_id == landmark_id))
        connection.execute(
            sa.insert(SECOND_LOOKS).values(landmark_id=landmark_id, asked_by=lead, asked_at_ms=desk.clock())
        )


def find_row(board: Board, item_id: str) -> int:
    """Return the row of an item.

    Raises:
        NotThereError: there is no such item.
    """
    if item_id not in board.row_of:
        raise NotThereError("there is no such photo in the queue; load the page again")
    return board.row_of[item_id]


def check_group(board: Board, group_id: str) -> None:
    """Check that a group exists.

    Raises:
        NotThereError: there is no such group.
    """
    if group_id not in board.rows_of_group:
        raise NotThereError("there is no such group in the queue; load the page again")
