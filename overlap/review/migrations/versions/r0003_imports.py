"""Make the append-only, chained list of imported vote files, and of those that were declared void."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_REFUSAL = "imports are append-only: declare one void with 'overlap votes void'"


def upgrade() -> None:
    """Make the tables and what guards them."""
    op.add_column("items", sa.Column("import_number", sa.Integer))
    op.create_table(
        "imports",
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
    op.create_table(
        "voids",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("import_number", sa.Integer, sa.ForeignKey("imports.number"), nullable=False, unique=True),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("at_ms", sa.BigInteger, nullable=False),
        sa.Column("after", sa.BigInteger, nullable=False),
        sa.Column("chain", sa.String, nullable=False),
    )
    op.create_table(
        "imported",
        sa.Column("vote_id", sa.String, sa.ForeignKey("votes.vote_id"), primary_key=True),
        sa.Column("import_number", sa.Integer, sa.ForeignKey("imports.number"), primary_key=True, index=True),
    )
    guard = _guard_postgresql if op.get_bind().dialect.name == "postgresql" else _guard_sqlite
    for table in ("imports", "voids", "imported"):
        guard(table)


def _guard_sqlite(table: str) -> None:
    refuse = f"BEGIN SELECT RAISE(ABORT, '{_REFUSAL.replace(chr(39), chr(39) * 2)}'); END"
    for change in ("UPDATE", "DELETE"):
        op.execute(f"CREATE TRIGGER {table}_no_{change.lower()} BEFORE {change} ON {table} {refuse}")
    keys = {
        "imports": "number = NEW.number",
        "voids": "number = NEW.number OR import_number = NEW.import_number",
        "imported": "vote_id = NEW.vote_id AND import_number = NEW.import_number",
    }
    op.execute(
        f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} "  # noqa: S608 (constant text)
        f"WHEN EXISTS (SELECT 1 FROM {table} WHERE {keys[table]}) {refuse}"
    )


def _guard_postgresql(table: str) -> None:
    op.execute(
        "CREATE OR REPLACE FUNCTION refuse_import_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION $text${_REFUSAL}$text$; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_import_change()"
    )
