"""State that others follow: who may change it, and what a follower is told."""

import asyncio

import pytest
from pydantic import BaseModel

from web.following import Followed, News, ReadOnly


class Lamp(Followed):
    colour = ReadOnly[str]()

    def __init__(self) -> None:
        super().__init__()
        self._colour = "red"
        self._is_off = False

    @property
    def is_over(self) -> bool:
        return self._is_off

    def turn(self, colour: str) -> None:
        self._colour = colour
        self._changed()

    def switch_off(self) -> None:
        self._is_off = True
        self._changed()


class Colour(BaseModel):
    name: str


def test_everyone_reads_a_state_and_only_its_own_methods_change_it() -> None:
    lamp = Lamp()
    lamp.turn("green")
    assert lamp.colour == "green"
    with pytest.raises(AttributeError, match="changed by methods of Lamp"):
        setattr(lamp, "colour", "blue")  # noqa: B010 - as a type checker would refuse it
    assert lamp.colour == "green"


async def test_a_follower_sees_the_newest_state_and_the_end() -> None:
    lamp, seen = Lamp(), []

    async def follow() -> None:
        async for _ in lamp.changes():
            seen.append((lamp.colour, lamp.is_over))

    following = asyncio.create_task(follow())
    await asyncio.sleep(0)
    lamp.turn("amber")
    lamp.turn("green")
    lamp.switch_off()
    await following
    assert seen[-1] == ("green", True)
    assert ("amber", False) not in seen


async def test_a_follower_is_not_told_again_of_the_version_it_knows() -> None:
    lamp = Lamp()
    lamp.turn("green")
    changes = aiter(lamp.changes(after=lamp.version))
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    assert not waiting.done()
    lamp.turn("blue")
    await waiting
    assert lamp.colour == "blue"


def test_news_are_only_what_has_changed() -> None:
    news, red, half = News(), Colour(name="red"), Colour(name="half")

    def told(state: str, progress: Colour) -> list[str]:
        return [event.name for event in news.events(red, 1, state=state, progress=progress)]

    assert told("queued", red) == ["state", "progress"]
    assert told("queued", red) == []
    assert told("running", red) == ["state"]
    assert told("running", half) == ["progress"]
