"""The first release's tables, which are there already in a database without a version."""

import sqlalchemy as sa
from alembic import op

revision = "first_release"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "generations",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("user", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("order", sa.JSON, nullable=False),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("pod", sa.String(255)),
        sa.Column("created", sa.Float, nullable=False),
        sa.Column("ended", sa.Float),
        sa.Column("outcome", sa.JSON),
        sa.UniqueConstraint("owner", "idempotency_key", name="one_generation_per_key"),
        if_not_exists=True,
    )
    op.create_table(
        "spending",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("created", sa.Float, primary_key=True),
        sa.Column("who", sa.String(64), nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "refusals",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(128), nullable=False),
        sa.Column("user", sa.String(128), nullable=False),
        sa.Column("category", sa.String(64), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        if_not_exists=True,
    )
    for name, table, columns in (
        ("generations_by_user", "generations", ["owner", "user", "created"]),
        ("generations_by_age", "generations", ["created"]),
        ("generations_ended", "generations", ["ended"]),
        ("spending_of_user", "spending", ["who", "created"]),
        ("spending_by_age", "spending", ["created"]),
        ("refusals_by_user", "refusals", ["owner", "user", "at"]),
    ):
        op.create_index(name, table, columns, if_not_exists=True)
