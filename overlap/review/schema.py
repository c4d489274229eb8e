"""The review database: its tables, and how an older one becomes the present one.

The migrations in ``overlap/review/migrations`` make the tables; those here are for queries, and a test holds the two
together. Votes and imports are append-only: triggers refuse to change or delete one, and a hash chain finds who went
around them.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from overlap.base.errors import ReviewError
from overlap.base.tables import ANSWERS, WITHDRAWN

HEAD = "0003"
"""The newest migration."""

metadata = sa.MetaData()

# `import_number` is that of the import that brought the item; none once 'curate' or the app's gold asked for it.
ITEMS = sa.Table(
    "items",
    metadata,
    sa.Column("item_id", sa.String, primary_key=True),
    sa.Column("group_id", sa.String, nullable=False, index=True),
    sa.Column("evaluation_set", sa.String, nullable=False),
    sa.Column("query_id", sa.String),
    sa.Column("image_id", sa.String),
    sa.Column("landmark_id", sa.BigInteger, nullable=False),
    sa.Column("origin", sa.String, nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("import_number", sa.Integer),
)

# `evaluation_set` stands here too, because the file of a vote on a text candidate may name one and its item does not.
# `lease` and `client_seq` say in which showing of the item a vote of the app was cast; imported votes have neither.
VOTE_LOG = sa.Table(
    "votes",
    metadata,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("vote_id", sa.String, nullable=False, unique=True),
    sa.Column("item_id", sa.String, sa.ForeignKey("items.item_id"), nullable=False, index=True),
    sa.Column("evaluation_set", sa.String, nullable=False),
    sa.Column("reviewer", sa.String, nullable=False),
    sa.Column("answer", sa.String, nullable=False),
    sa.Column("voted_at_ms", sa.BigInteger, nullable=False),
    sa.Column("seconds", sa.Float),
    sa.Column("note", sa.String),
    sa.Column("guideline_version", sa.String),
    sa.Column("supersedes", sa.String, sa.ForeignKey("votes.vote_id")),
    sa.Column("lease", sa.String),
    sa.Column("client_seq", sa.Integer),
    sa.Column("chain", sa.String, nullable=False),
    sa.CheckConstraint(
        "answer IN ({})".format(", ".join(f"'{answer}'" for answer in (*ANSWERS, WITHDRAWN))), name="known_answer"
    ),
    sa.CheckConstraint("reviewer <> ''", name="reviewer_given"),
    sa.UniqueConstraint("lease", "client_seq", "item_id", name="one_vote_a_showing"),
    sqlite_autoincrement=True,
)

# A vote file that was imported. Imports and what declares them void are numbered together, in the order in which they
# are links of the votes' chain, each after the vote whose sequence is `after`. `votes_sha256` is over the vote_ids of
# its IMPORTED rows.
IMPORTS = sa.Table(
    "imports",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("file", sa.String, nullable=False),
    sa.Column("file_sha256", sa.String, nullable=False),
    sa.Column("n_votes", sa.Integer, nullable=False),
    sa.Column("votes_sha256", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("after", sa.BigInteger, nullable=False),
    sa.Column("chain", sa.String, nullable=False),
)

VOIDS = sa.Table(
    "voids",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("import_number", sa.Integer, sa.ForeignKey("imports.number"), nullable=False, unique=True),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("who", sa.String, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("after", sa.BigInteger, nullable=False),
    sa.Column("chain", sa.String, nullable=False),
)

# The votes of each import; those that came with an earlier one too, but none that was cast here.
IMPORTED = sa.Table(
    "imported",
    metadata,
    sa.Column("vote_id", sa.String, sa.ForeignKey("votes.vote_id"), primary_key=True),
    sa.Column("import_number", sa.Integer, sa.ForeignKey("imports.number"), primary_key=True, index=True),
)

# One row: how many votes there are and the last link of their chain, so that missing last rows are found too.
LOG_HEAD = sa.Table(
    "log_head",
    metadata,
    sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("n_votes", sa.BigInteger, nullable=False),
    sa.Column("chain", sa.String, nullable=False),
    sa.CheckConstraint("one = 1", name="one_row"),
)

# The secret part of a token is kept as its argon2 hash only.
REVIEWERS = sa.Table(
    "reviewers",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("token_id", sa.String, nullable=False, unique=True),
    sa.Column("token_hash", sa.String, nullable=False),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    sa.Column("revoked_at_ms", sa.BigInteger),
    sa.CheckConstraint("role IN ('reviewer', 'lead')", name="known_role"),
)

# A lease is one showing of a group to one reviewer; `client_seq` is the last one that it took.
LEASES = sa.Table(
    "leases",
    metadata,
    sa.Column("lease", sa.String, primary_key=True),
    sa.Column("reviewer", sa.String, nullable=False, index=True),
    sa.Column("group_id", sa.String, nullable=False),
    sa.Column("expires_at_ms", sa.BigInteger, nullable=False, index=True),
    sa.Column("client_seq", sa.Integer, nullable=False),
)

SKIPS = sa.Table(
    "skips",
    metadata,
    sa.Column("reviewer", sa.String, primary_key=True),
    sa.Column("group_id", sa.String, primary_key=True),
    sa.Column("skipped_at_ms", sa.BigInteger, nullable=False),
)

# A landmark that a lead wants judged again: votes on it from before are asked for once more.
SECOND_LOOKS = sa.Table(
    "second_looks",
    metadata,
    sa.Column("landmark_id", sa.BigInteger, primary_key=True),
    sa.Column("asked_by", sa.String, nullable=False),
    sa.Column("asked_at_ms", sa.BigInteger, nullable=False),
)

# Items whose answer is known; no reviewer can tell them from others and they decide nothing.
GOLD = sa.Table(
    "gold",
    metadata,
    sa.Column("item_id", sa.String, sa.ForeignKey("items.item_id"), primary_key=True),
    sa.Column("confirms", sa.Boolean, nullable=False),
)

# What the server alone may know: the key that signs sessions, and which of those it signed have ended.
SECRETS = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)


def stands() -> sa.ColumnElement[bool]:
    """Tell of a row of VOTE_LOG whether it is not void: cast here, or brought by an import that is not void."""
    void = sa.select(VOIDS.c.import_number)
    brought = sa.select(IMPORTED.c.vote_id)
    return VOTE_LOG.c.vote_id.not_in(brought.where(IMPORTED.c.import_number.in_(void))) | VOTE_LOG.c.vote_id.in_(
        brought.where(IMPORTED.c.import_number.not_in(void))
    )


def is_asked() -> sa.ColumnElement[bool]:
    """Tell of a row of ITEMS whether it is a question: not one that only votes of a void import brought up."""
    void = ITEMS.c.import_number.in_(sa.select(VOIDS.c.import_number))
    return ITEMS.c.import_number.is_(None) | ~void | ITEMS.c.item_id.in_(sa.select(VOTE_LOG.c.item_id).where(stands()))


def is_present(connection: sa.Connection) -> bool:
    """Tell whether the database has the present tables."""
    return bool(_version(connection) == HEAD)


def migrate(connection: sa.Connection, *, to: str = HEAD) -> None:
    """Bring the database of a writing transaction to a version, keeping what it holds.

    Raises:
        ReviewError: it was made by a newer version of the project, or by one without migrations.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(20240401524)"))
    version = _version(connection)
    if version == to:
        return
    if version is None and sa.inspect(connection).has_table("votes"):
        raise ReviewError(
            "the review database has tables that this program did not make; export its votes with the program that "
            "did, and import them into a new database"
        )
    settings = Config()
    folder = Path(__file__).parent / "migrations"
    settings.set_main_option("script_location", str(folder).replace("%", "%%"))  # its parser reads % as a reference
    settings.attributes["connection"] = connection
    try:
        command.upgrade(settings, to)
    except CommandError as error:
        raise ReviewError(
            f"the review database has version {version}, which this program does not know ({error}); update the program"
        ) from None


def _version(connection: sa.Connection) -> Any:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
