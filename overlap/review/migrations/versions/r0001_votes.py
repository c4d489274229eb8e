"""Make the items and the append-only, hash-chained log of votes."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_REFUSAL = "votes are append-only: cast a vote that supersedes the earlier one"

# The third one is for INSERT OR REPLACE, which deletes without waking a delete trigger.
_SQLITE_GUARDS = (
    f"CREATE TRIGGER votes_no_update BEFORE UPDATE ON votes BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
    f"CREATE TRIGGER votes_no_delete BEFORE DELETE ON votes BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
    "CREATE TRIGGER votes_no_replace BEFORE INSERT ON votes "  # noqa: S608 (constant text)
    "WHEN EXISTS (SELECT 1 FROM votes WHERE vote_id = NEW.vote_id OR sequence = NEW.sequence) "
    f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL}'); END",
)
_POSTGRESQL_GUARDS = (
    "CREATE FUNCTION refuse_vote_change() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_REFUSAL}'; END $$",
    "CREATE TRIGGER votes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON votes "
    "FOR EACH STATEMENT EXECUTE FUNCTION refuse_vote_change()",
)


def upgrade() -> None:
    """Make the tables and what guards them."""
    op.create_table(
        "items",
        sa.Column("item_id", sa.String, primary_key=True),
        sa.Column("group_id", sa.String, nullable=False, index=True),
        sa.Column("evaluation_set", sa.String, nullable=False),
        sa.Column("query_id", sa.String),
        sa.Column("image_id", sa.String),
        sa.Column("landmark_id", sa.BigInteger, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("score", sa.Float),
    )
    op.create_table(
        "votes",
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
            "answer IN ('same', 'same_other_side', 'same_site', 'different', 'unsure', 'withdrawn')",
            name="known_answer",
        ),
        sa.CheckConstraint("reviewer <> ''", name="reviewer_given"),
        sa.UniqueConstraint("lease", "client_seq", "item_id", name="one_vote_a_showing"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "log_head",
        sa.Column("one", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("n_votes", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.String, nullable=False),
        sa.CheckConstraint("one = 1", name="one_row"),
    )
    op.execute("INSERT INTO log_head VALUES (1, 0, '')")
    for guard in _POSTGRESQL_GUARDS if op.get_bind().dialect.name == "postgresql" else _SQLITE_GUARDS:
        op.execute(guard)
