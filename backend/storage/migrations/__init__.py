"""The schema's versions: a file in `versions/` for each change, run by Alembic when it is opened.

A released version never changes. A new one should let the release before it work on, for example
with columns that may be NULL: `deploy --rollback` shares the data.
"""

import logging
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

_LOCK = 0x4541_5346
"""The advisory lock's number on PostgreSQL: two replicas that start together upgrade once."""


class NewerSchema(Exception):
    """The database has a version that this release does not know."""


def upgrade(connection: sa.Connection) -> None:
    """Bring the schema to this release's version, whole or not at all. Raises NewerSchema."""
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each connection
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = connection
    scripts = ScriptDirectory.from_config(config)
    if _version(connection) == scripts.get_current_head():
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # else each change is committed on its own
    else:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    version = _version(connection)
    if version is not None and version not in {one.revision for one in scripts.walk_revisions()}:
        raise NewerSchema(version)
    command.upgrade(config, "head")


def _version(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
