"""Who may review: names, roles, and personal tokens of which only an argon2 hash is kept."""

import secrets
from dataclasses import dataclass

import pyarrow as pa
import sqlalchemy as sa

from overlap.base.errors import ReviewError
from overlap.review.schema import REVIEWERS, SECRETS
from overlap.review.store import ReviewStore

ROLES = ("reviewer", "lead")
LONGEST_NAME = 100


@dataclass(frozen=True)
class Reviewer:
    """A person who is let in; ``token_id`` names the token, so that a revoked one ends its sessions too."""

    name: str
    role: str
    token_id: str


def is_name(name: str) -> bool:
    """Return whether a reviewer can be called so: 1 to `LONGEST_NAME` characters that can be seen."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def add_reviewer(store: ReviewStore, name: str, *, role: str, now_ms: int) -> str:
    """Add a reviewer and return the token, which is shown this once; a revoked reviewer gets a new one.

    Raises:
        ReviewError: the role or name is not one, or the reviewer is there and not revoked.
    """
    from argon2 import PasswordHasher

    if role not in ROLES:
        raise ReviewError(f"role {role!r} is not one of {', '.join(ROLES)}")
    if name != name.strip() or not is_name(name):
        raise ReviewError(
            f"reviewer {name!r}: give a name of 1 to {LONGEST_NAME} printable characters, no blanks around it"
        )
    token_id, secret = secrets.token_hex(6), secrets.token_urlsafe(24)
    row = {"role": role, "token_id": token_id, "token_hash": PasswordHasher().hash(secret), "created_at_ms": now_ms}
    with store.writing() as connection:
        known = connection.execute(sa.select(REVIEWERS).where(REVIEWERS.c.name == name)).one_or_none()
        if known is not None and known.revoked_at_ms is None:
            raise ReviewError(f"reviewer {name!r} is there already; revoke the token first to give a new one")
        connection.execute(sa.delete(REVIEWERS).where(REVIEWERS.c.name == name))
        connection.execute(sa.insert(REVIEWERS).values(name=name, **row))
    return f"{token_id}.{secret}"


def welcome(store: ReviewStore, name: str, *, now_ms: int) -> Reviewer | None:
    """Return the reviewer of this name, added if nobody has it; None for one who was revoked."""
    with store.reading() as connection:
        is_known = connection.scalar(sa.select(REVIEWERS.c.name).where(REVIEWERS.c.name == name)) is not None
    if not is_known:
        add_reviewer(store, name, role="reviewer", now_ms=now_ms)
    return find_reviewer(store, name)


def revoke_reviewer(store: ReviewStore, name: str, *, now_ms: int) -> None:
    """Revoke a reviewer's access; the votes stay.

    Raises:
        ReviewError: there is no such reviewer.
    """
    active = (REVIEWERS.c.name == name) & REVIEWERS.c.revoked_at_ms.is_(None)
    with store.writing() as connection:
        done = connection.execute(sa.update(REVIEWERS).where(active).values(revoked_at_ms=now_ms))
    if not done.rowcount:
        raise ReviewError(f"there is no reviewer {name!r} to revoke; 'overlap reviewers list' names them")


def list_reviewers(store: ReviewStore) -> pa.Table:
    """Return name, role and revoked of everyone, by name."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(REVIEWERS).order_by(REVIEWERS.c.name)).all()
    return pa.table(
        {
            "name": pa.array([row.name for row in rows], pa.string()),
            "role": pa.array([row.role for row in rows], pa.string()),
            "revoked": pa.array([row.revoked_at_ms is not None for row in rows], pa.bool_()),
        }
    )


def check_token(store: ReviewStore, token: str) -> Reviewer | None:
    """Return whose token it is; nobody's takes as long to refuse as a known one with a wrong secret."""
    from argon2 import PasswordHasher
    from argon2.exceptions import VerificationError

    token_id, _, secret = token.strip().partition(".")
    known = _find(store, REVIEWERS.c.token_id == token_id) if token_id.isalnum() else None
    try:
        PasswordHasher().verify(known.token_hash if known is not None else _nobody(), secret)
    except VerificationError:
        return None
    return None if known is None else Reviewer(known.name, known.role, known.token_id)


def find_reviewer(store: ReviewStore, name: str, *, token_id: str | None = None) -> Reviewer | None:
    """Return a reviewer who is let in, and, where a token is given, is so by that token."""
    known = _find(store, REVIEWERS.c.name == name)
    if known is None or (token_id is not None and known.token_id != token_id):
        return None
    return Reviewer(known.name, known.role, known.token_id)


def find_by_email(store: ReviewStore, email: str) -> Reviewer | None:
    """Return the reviewer whose name is an e-mail address; in other letters' case too, where that is one person's."""
    exact = find_reviewer(store, email)
    if exact is not None:
        return exact
    alike = (sa.func.lower(REVIEWERS.c.name) == email.lower()) & REVIEWERS.c.revoked_at_ms.is_(None)
    with store.reading() as connection:
        names = connection.scalars(sa.select(REVIEWERS.c.name).where(alike)).all()
    return find_reviewer(store, names[0]) if len(names) == 1 else None


def session_key(store: ReviewStore) -> str:
    """Return the key that signs sessions and picture addresses; it is drawn at the first call and then stays."""
    wanted = sa.select(SECRETS.c.value).where(SECRETS.c.name == "session")
    with store.writing() as connection:
        key = connection.scalar(wanted)
        if key is None:
            key = secrets.token_hex(32)
            connection.execute(sa.insert(SECRETS).values(name="session", value=key))
    return str(key)


def end_session(store: ReviewStore, session: str, *, now_ms: int) -> None:
    """Let nobody in by this session any more."""
    with store.writing() as connection:
        if connection.scalar(_ended(session)) is None:
            connection.execute(sa.insert(SECRETS).values(name=f"ended {session}", value=str(now_ms)))


def has_ended(store: ReviewStore, session: str) -> bool:
    """Tell whether somebody logged out of this session."""
    with store.reading() as connection:
        return connection.scalar(_ended(session)) is not None


def _ended(session: str) -> sa.Select[tuple[str]]:
    return sa.select(SECRETS.c.value).where(SECRETS.c.name == f"ended {session}")


def _find(store: ReviewStore, which: sa.ColumnElement[bool]) -> sa.Row[tuple[object, ...]] | None:
    with store.reading() as connection:
        return connection.execute(sa.select(REVIEWERS).where(which, REVIEWERS.c.revoked_at_ms.is_(None))).one_or_none()


_known_hash: list[str] = []


def _nobody() -> str:
    from argon2 import PasswordHasher

    if not _known_hash:
        _known_hash.append(PasswordHasher().hash(secrets.token_hex(8)))
    return _known_hash[0]
