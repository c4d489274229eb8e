"""A lease is one showing of a group to one reviewer: a vote without a living one is not taken.

The browser sends the lease with every answer, and a number that grows: so an answer that arrives twice counts once, and
one for something that is no longer shown is refused instead of being written to what is shown now.
"""

import secrets

import sqlalchemy as sa

from overlap.base.errors import ReviewError
from overlap.review.schema import LEASES, SKIPS
from overlap.review.store import ReviewStore


def take_lease(store: ReviewStore, reviewer: str, group_id: str, *, now_ms: int, minutes: int) -> str:
    """Show a group to a reviewer; earlier leases of the reviewer, in other tabs too, end."""
    lease = secrets.token_urlsafe(18)
    row = {"reviewer": reviewer, "group_id": group_id, "expires_at_ms": now_ms + minutes * 60_000, "client_seq": 0}
    with store.writing() as connection:
        connection.execute(
            sa.update(LEASES)
            .where(LEASES.c.reviewer == reviewer, LEASES.c.expires_at_ms > now_ms)
            .values(expires_at_ms=now_ms)
        )
        connection.execute(sa.insert(LEASES).values(lease=lease, **row))
    return lease


def find_leased(store: ReviewStore, *, now_ms: int) -> dict[str, set[str]]:
    """Return by reviewer the groups that are shown now."""
    leased: dict[str, set[str]] = {}
    with store.reading() as connection:
        living = sa.select(LEASES.c.reviewer, LEASES.c.group_id).where(LEASES.c.expires_at_ms > now_ms)
        for row in connection.execute(living):
            leased.setdefault(row.reviewer, set()).add(row.group_id)
    return leased


def admit(connection: sa.Connection, lease: str, *, reviewer: str, group_id: str, client_seq: int, now_ms: int) -> bool:
    """Take note of an answer to what a lease shows; False when it was taken before.

    Raises:
        ReviewError: the lease is not the reviewer's, shows another group, is over, or has had a later answer.
    """
    row = connection.execute(sa.select(LEASES).where(LEASES.c.lease == lease)).one_or_none()
    if row is None or row.reviewer != reviewer or row.group_id != group_id:
        raise ReviewError("this answer belongs to something that was not shown to you; load the page again")
    if client_seq <= row.client_seq:
        return False
    if row.expires_at_ms <= now_ms:
        raise ReviewError("this was shown too long ago, or is open in another tab; look at it again and answer there")
    connection.execute(
        sa.update(LEASES).where(LEASES.c.lease == lease).values(client_seq=client_seq, expires_at_ms=now_ms)
    )
    return True


def skip_group(store: ReviewStore, reviewer: str, group_id: str, *, now_ms: int) -> None:
    """Put a group at the end of a reviewer's queue."""
    mine = (SKIPS.c.reviewer == reviewer) & (SKIPS.c.group_id == group_id)
    with store.writing() as connection:
        connection.execute(sa.delete(SKIPS).where(mine))
        connection.execute(sa.insert(SKIPS).values(reviewer=reviewer, group_id=group_id, skipped_at_ms=now_ms))


def read_skips(store: ReviewStore, reviewer: str) -> dict[str, int]:
    """Return when the reviewer skipped which group last."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(SKIPS).where(SKIPS.c.reviewer == reviewer))
        return {row.group_id: row.skipped_at_ms for row in rows}
