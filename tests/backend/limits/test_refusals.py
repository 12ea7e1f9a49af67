"""Users who keep sending refused prompts wait longer and longer, also after a restart."""

import asyncio
import time

import pytest

from backend.limits.refusals import BLOCK_FROM, BLOCK_S, SLOW_FROM, Refusals, pause_after
from backend.storage.database import Database
from web.errors import RateLimited


async def refuse(refusals: Refusals, times: int, user: str = "eve") -> None:
    for _ in range(times):
        await refusals.note("shop", user, "sexual")


async def test_a_few_refusals_cost_nothing(database: Database) -> None:
    refusals = Refusals(database)
    await refuse(refusals, SLOW_FROM - 1)
    refusals.check("shop", "eve")


async def test_more_refusals_slow_this_user_down_and_no_other(database: Database) -> None:
    refusals = Refusals(database)
    await refuse(refusals, SLOW_FROM)
    with pytest.raises(RateLimited) as raised:
        refusals.check("shop", "eve")
    assert raised.value.retry_after == pytest.approx(pause_after(SLOW_FROM), abs=2)
    refusals.check("shop", "adam")
    refusals.check("other shop", "eve")


async def test_many_refusals_block_for_an_hour_also_after_a_restart(database: Database) -> None:
    await refuse(Refusals(database), BLOCK_FROM)
    again = Refusals(database)
    await again.open()
    with pytest.raises(RateLimited) as raised:
        again.check("shop", "eve")
    assert raised.value.retry_after == pytest.approx(BLOCK_S, abs=5)


async def test_deleting_a_user_does_not_lift_the_block(database: Database) -> None:
    refusals = Refusals(database)
    await refuse(refusals, BLOCK_FROM)
    await refusals.forget("shop", "eve")
    again = Refusals(database)
    await asyncio.gather(again.open(), again.expire(time.time()))
    with pytest.raises(RateLimited):
        again.check("shop", "eve")


async def test_operators_see_counts_by_user_and_category_and_no_prompts(database: Database) -> None:
    refusals = Refusals(database)
    await refuse(refusals, 3)
    await refuse(refusals, 1, "adam")
    counts = await refusals.counts("shop")
    assert [(count.user, count.category, count.count) for count in counts] == [
        ("eve", "sexual", 3),
        ("adam", "sexual", 1),
    ]
    assert await refusals.counts("other shop") == []
