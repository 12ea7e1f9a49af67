"""Everything is killed, ended and frozen in random order under work; nothing is lost or left."""

from pathlib import Path

import pytest

from tests.backend.chaos import chaos
from tests.backend.storage.databases import postgres, why_no_postgres

SEED = 7
"""The same harm in the same order each time; `python -m bench.chaos` tries others."""


@pytest.mark.timeout(400)
async def test_rounds_of_harm_lose_nothing_and_draw_nothing_twice(tmp_path: Path) -> None:
    async with chaos(tmp_path, SEED) as run:
        await run.run(12)
        await run.settle()
        assert await run.broken() == {}


@pytest.mark.timeout(400)
@pytest.mark.skipif(bool(why_no_postgres()), reason=why_no_postgres())
async def test_two_replicas_on_postgresql_lose_nothing_and_draw_nothing_twice(
    tmp_path: Path,
) -> None:
    async with postgres() as database, chaos(tmp_path, SEED, database, replicas=2) as run:
        await run.run(6)
        await run.settle()
        assert await run.broken() == {}
