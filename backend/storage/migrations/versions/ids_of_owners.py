"""Each API key has its own ids: `own_id` is what the owner calls it where another had the id."""

import sqlalchemy as sa
from alembic import op

revision = "ids_of_owners"
down_revision = "first_release"


def upgrade() -> None:
    op.add_column("generations", sa.Column("own_id", sa.String(36)))
    op.create_index(
        "one_generation_per_id",
        "generations",
        ["owner", sa.text("coalesce(own_id, id)")],
        unique=True,
    )
