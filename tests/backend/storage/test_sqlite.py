"""The SQLite database of an installation without PostgreSQL."""

from pathlib import Path

from backend.storage.database import Database


async def test_opening_removes_the_workflow_log_of_the_first_release(tmp_path: Path) -> None:
    kept = tmp_path / "easel.sqlite3"
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"easel-workflows.sqlite3{suffix}").write_bytes(b"old")
    other = tmp_path / "notes-workflows.sqlite3"
    other.write_bytes(b"somebody else's")
    database = Database(f"sqlite:///{kept}")
    await database.open()
    await database.close()
    left = {path.name for path in tmp_path.iterdir()}  # noqa: ASYNC240
    assert not {name for name in left if name.startswith("easel-workflows")}
    assert {kept.name, other.name} <= left
