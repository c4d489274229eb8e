"""Make what the review app needs: reviewers, leases, skips, second looks, gold items, secrets."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "reviewers",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("token_id", sa.String, nullable=False, unique=True),
        sa.Column("token_hash", sa.String, nullable=False),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("revoked_at_ms", sa.BigInteger),
        sa.CheckConstraint("role IN ('reviewer', 'lead')", name="known_role"),
    )
    op.create_table(
        "leases",
        sa.Column("lease", sa.String, primary_key=True),
        sa.Column("reviewer", sa.String, nullable=False, index=True),
        sa.Column("group_id", sa.String, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger, nullable=False, index=True),
        sa.Column("client_seq", sa.Integer, nullable=False),
    )
    op.create_table(
        "skips",
        sa.Column("reviewer", sa.String, primary_key=True),
        sa.Column("group_id", sa.String, primary_key=True),
        sa.Column("skipped_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "second_looks",
        sa.Column("landmark_id", sa.BigInteger, primary_key=True),
        sa.Column("asked_by", sa.String, nullable=False),
        sa.Column("asked_at_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "gold",
        sa.Column("item_id", sa.String, sa.ForeignKey("items.item_id"), primary_key=True),
        sa.Column("confirms", sa.Boolean, nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.String, nullable=False),
    )
