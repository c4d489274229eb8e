"""Imports of vote files as wholes: each is written down in the votes' chain, and can be declared void there.

The votes of a void import stay in the log and count nowhere, save those that another import brought too or that were
cast here. So a mended file can be imported anew: what it repeats of the void one counts again.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from overlap.base.errors import ReviewError
from overlap.review.chain import link
from overlap.review.schema import IMPORTED, IMPORTS, ITEMS, LOG_HEAD, VOIDS, VOTE_LOG, stands

_BATCH = 5000  # SQLite takes 32,766 parameters a statement


@dataclass(frozen=True)
class Source:
    """Say where votes come from: the file's name and SHA-256, who brings it, and when."""

    file: str
    file_sha256: str
    who: str
    at_ms: int


@dataclass(frozen=True)
class Import:
    """Hold an import and, where it is void, why.

    Args:
        n_votes: the votes that it brought, those of earlier imports among them.
    """

    number: int
    source: Source
    n_votes: int
    reason: str | None


def list_imports(connection: sa.Connection) -> list[Import]:
    """Return the imports in order."""
    rows = connection.execute(
        sa.select(IMPORTS, VOIDS.c.reason)
        .outerjoin(VOIDS, VOIDS.c.import_number == IMPORTS.c.number)
        .order_by(IMPORTS.c.number)
    )
    return [
        Import(row.number, Source(row.file, row.file_sha256, row.who, row.at_ms), row.n_votes, row.reason)
        for row in rows
    ]


def void_import(connection: sa.Connection, number: int, *, reason: str, who: str, now_ms: int) -> int:
    """Declare an import void, for good, and return how many votes count no more.

    Raises:
        ReviewError: there is no such import, it is void already, or no reason is given.
    """
    known = {each.number: each for each in list_imports(connection)}
    if number not in known:
        have = ", ".join(map(str, known)) or "none"
        raise ReviewError(f"there is no import {number}; there are: {have}; 'overlap votes imports' lists them")
    if known[number].reason is not None:
        raise ReviewError(f"import {number} is void already: {known[number].reason}")
    if not reason.strip():
        raise ReviewError(f"import {number}: give a reason; it stays in the log and stands in every release")
    standing = sa.select(sa.func.count()).select_from(VOTE_LOG).where(stands())
    before = connection.scalar(standing) or 0
    row = {"import_number": number, "reason": reason.strip(), "who": who, "at_ms": now_ms}
    _write(connection, VOIDS, "void", {"number": next_number(connection), **row})
    return before - (connection.scalar(standing) or 0)


def next_number(connection: sa.Connection) -> int:
    """Return the number of the next import or void."""
    return 1 + max(connection.scalar(sa.select(sa.func.max(table.c.number))) or 0 for table in (IMPORTS, VOIDS))


def record_import(connection: sa.Connection, number: int, source: Source, vote_ids: Collection[str]) -> None:
    """Write an import down, with votes that are in the log by now."""
    said = {"file": source.file, "file_sha256": source.file_sha256, "who": source.who, "at_ms": source.at_ms}
    row = {"number": number, **said, "n_votes": len(vote_ids), "votes_sha256": _digest(vote_ids)}
    _write(connection, IMPORTS, "import", row)
    connection.execute(sa.insert(IMPORTED), [{"vote_id": each, "import_number": number} for each in vote_ids])


def claim_import(connection: sa.Connection, source: Source, votes: Mapping[str, str]) -> int:
    """Write down an import of before imports were written down, and return its number.

    Args:
        votes: item_id by vote_id, as its file says them.

    Raises:
        ReviewError: none of the votes is in the log, save those that were cast in the app or came with a known import.
    """
    alone = VOTE_LOG.c.lease.is_(None)
    there = {
        each
        for batch in batches(votes)
        for each in connection.scalars(sa.select(VOTE_LOG.c.vote_id).where(alone, VOTE_LOG.c.vote_id.in_(batch)))
    }
    brought = there - find_imported(connection, there)
    if not brought:
        raise ReviewError(f"{source.file} holds no vote that is in the log and came with none of the listed imports")
    number = next_number(connection)
    record_import(connection, number, source, brought)
    only_voted_on = (ITEMS.c.origin == "imported") & ITEMS.c.import_number.is_(None)
    for batch in batches({votes[each] for each in brought}):
        found = only_voted_on & ITEMS.c.item_id.in_(batch)
        connection.execute(sa.update(ITEMS).where(found).values(import_number=number))
    return number


def find_imported(connection: sa.Connection, vote_ids: Iterable[str]) -> set[str]:
    """Return which of some votes came with an import."""
    found = set[str]()
    for batch in batches(vote_ids):
        found.update(connection.scalars(sa.select(IMPORTED.c.vote_id).where(IMPORTED.c.vote_id.in_(batch))))
    return found


def read_entries(connection: sa.Connection) -> list[Mapping[str, Any]]:
    """Return the imports and voids as entries of the chain, in order."""
    tables = (("import", IMPORTS), ("void", VOIDS))
    rows = [{"kind": kind, **row} for kind, table in tables for row in connection.execute(sa.select(table)).mappings()]
    return sorted(rows, key=lambda row: row["number"])


def find_changed_imports(connection: sa.Connection) -> Iterator[str]:
    """Say which imports no longer have the votes that they brought."""
    brought: dict[int, list[str]] = {}
    for row in connection.execute(sa.select(IMPORTED)):
        brought.setdefault(row.import_number, []).append(row.vote_id)
    for row in connection.execute(sa.select(IMPORTS).order_by(IMPORTS.c.number)):
        if _digest(brought.get(row.number, ())) != row.votes_sha256:
            yield f"import {row.number} was changed: its votes are not the {row.n_votes} that it brought"


def void_reasons(connection: sa.Connection) -> dict[str, str]:
    """Return, by vote_id, why a vote is void."""
    rows = connection.execute(
        sa.select(VOTE_LOG.c.vote_id, VOIDS.c.reason)
        .join(IMPORTED, IMPORTED.c.vote_id == VOTE_LOG.c.vote_id)
        .join(VOIDS, VOIDS.c.import_number == IMPORTED.c.import_number)
        .where(~stands())
        .order_by(VOIDS.c.number)
    )
    return {row.vote_id: row.reason for row in rows}


def batches(values: Iterable[str]) -> Iterator[list[str]]:
    """Cut values into lists that fit a statement."""
    ordered = sorted(values)
    for start in range(0, len(ordered), _BATCH):
        yield ordered[start : start + _BATCH]


def _write(connection: sa.Connection, table: sa.Table, kind: str, row: Mapping[str, Any]) -> None:
    head = connection.scalar(sa.select(LOG_HEAD.c.chain)) or ""
    entry = {**row, "after": connection.scalar(sa.select(sa.func.max(VOTE_LOG.c.sequence))) or 0}
    chain = link(head, {"kind": kind, **entry})
    connection.execute(sa.insert(table).values(**entry, chain=chain))
    connection.execute(sa.update(LOG_HEAD).values(chain=chain))


def _digest(vote_ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(sorted(vote_ids)).encode()).hexdigest()
