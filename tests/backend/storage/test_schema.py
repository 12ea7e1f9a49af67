"""Databases of other releases: the first one's is brought up, a newer one's is refused."""

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from backend.storage import storage
from backend.storage.database import DatabaseRefused, prepare
from tests.backend.storage.databases import postgres, why_no_postgres

FIRST_RELEASE = """
CREATE TABLE generations (
    id VARCHAR(36) NOT NULL, owner VARCHAR(128) NOT NULL, user VARCHAR(128) NOT NULL,
    idempotency_key VARCHAR(255), fingerprint VARCHAR(64) NOT NULL, "order" JSON NOT NULL,
    count INTEGER NOT NULL, status VARCHAR(16) NOT NULL, pod VARCHAR(255),
    created FLOAT NOT NULL, ended FLOAT, outcome JSON, PRIMARY KEY (id),
    CONSTRAINT one_generation_per_key UNIQUE (owner, idempotency_key)
);
CREATE INDEX generations_by_user ON generations (owner, user, created);
CREATE INDEX generations_by_age ON generations (created);
CREATE INDEX generations_ended ON generations (ended);
CREATE TABLE spending (
    id VARCHAR(36) NOT NULL, created FLOAT NOT NULL, who VARCHAR(64) NOT NULL,
    images INTEGER NOT NULL, PRIMARY KEY (id, created)
);
CREATE TABLE refusals (
    id INTEGER NOT NULL, owner VARCHAR(128) NOT NULL, user VARCHAR(128) NOT NULL,
    category VARCHAR(64) NOT NULL, at FLOAT NOT NULL, PRIMARY KEY (id)
);
INSERT INTO generations VALUES
    ('8c5f6a7e-0000-4000-8000-000000000000', 'shop', 'anna', NULL, 'f', '{}', 1, 'queued', NULL,
     1.0, NULL, NULL);
"""
INSERT = """
INSERT INTO generations (id, owner, user, fingerprint, "order", count, status, created)
VALUES ('8c5f6a7e-0000-4000-8000-000000000001', 'shop', 'anna', 'f', '{}', 1, 'queued', 1.0)
"""
"""As the first release writes it."""


def test_the_first_releases_database_is_brought_up_and_that_release_can_go_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "easel.sqlite3"
    with sqlite3.connect(path) as db:
        db.executescript(FIRST_RELEASE)
    for _ in range(2):
        prepare(f"sqlite:///{path}")
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT own_id FROM generations").fetchall() == [(None,)]
        db.execute(INSERT)


def test_a_database_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "easel.sqlite3"
    prepare(f"sqlite:///{path}")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE alembic_version SET version_num = 'next_year'")
    with pytest.raises(DatabaseRefused, match=r"newer Easel .*'next_year'"):
        prepare(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "backend").write_text("a file")
    with pytest.raises(DatabaseRefused, match="cannot be"):
        prepare(f"sqlite:///{tmp_path}/backend/easel.sqlite3")
    images = (tmp_path / "backend" / "images").as_uri()
    with pytest.raises(DatabaseRefused, match="cannot be made"):
        storage.prepare(f"sqlite:///{tmp_path}/easel.sqlite3", images)


@pytest.mark.skipif(bool(why_no_postgres()), reason=why_no_postgres())
async def test_replicas_that_start_together_upgrade_once() -> None:
    async with postgres() as plain:
        url = plain.replace("postgresql://", "postgresql+psycopg://")
        failures: list[BaseException] = []

        def start() -> None:
            try:
                prepare(url)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=start) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            versions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").all()
        engine.dispose()
        assert versions == [("webhooks",)]
