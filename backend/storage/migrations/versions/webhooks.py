"""Webhooks: whom a generation's end is told, and which ends are still to be told."""

import sqlalchemy as sa
from alembic import op

revision = "webhooks"
down_revision = "ids_of_owners"


def upgrade() -> None:
    op.add_column("generations", sa.Column("webhook", sa.Text))
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("generation", sa.String(36), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("due", sa.Float, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
    )
    op.create_index("deliveries_due", "deliveries", ["due"])
    op.create_index("deliveries_of_generation", "deliveries", ["generation"])
