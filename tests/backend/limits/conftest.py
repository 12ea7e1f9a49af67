"""What the tests of the limits share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backend.storage.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'easel.sqlite3'}")
    await opened.open()
    yield opened
    await opened.close()
