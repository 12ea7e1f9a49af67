"""One Easel for all of these tests, and new people for each."""

from collections.abc import Callable, Iterator

import pytest

from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import Person, Stack

ADMIN = 40_001
StartBot = Callable[..., Service]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("easel"))
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="session")
def shared_bot(stack: Stack) -> Service:
    return stack.start_bot(BOT_ADMINS=str(ADMIN), BOT_API_TIMEOUT_S="3")


@pytest.fixture
def bot(stack: Stack, shared_bot: Service) -> Service:
    """Return the running bot; start it again if a test has ended it."""
    if shared_bot.process is None or shared_bot.process.poll() is not None:
        stack.restart(shared_bot)
    return shared_bot


@pytest.fixture
def other_bot(stack: Stack, shared_bot: Service) -> Iterator[StartBot]:
    """Start bots with other settings in place of the usual one."""
    shared_bot.stop()
    started: list[Service] = []

    def start(**env: str) -> Service:
        started.append(stack.start_bot(BOT_API_TIMEOUT_S="3", **env))
        return started[-1]

    yield start
    for bot in started:
        bot.stop()


@pytest.fixture
def ann(stack: Stack, bot: Service) -> Person:
    """Make a person who reads English."""
    return stack.person("en")


@pytest.fixture
def masha(stack: Stack, bot: Service) -> Person:
    """Make a person who reads Russian."""
    return stack.person("ru")


@pytest.fixture
def admin(stack: Stack, bot: Service) -> Person:
    return stack.person("en", ADMIN)


@pytest.fixture
def alex(stack: Stack, bot: Service) -> Person:
    """Return a member of the group who reads English."""
    return stack.person("en", 1001).in_group()


@pytest.fixture
def maria(stack: Stack, bot: Service) -> Person:
    """Return a member of the group who reads Russian."""
    return stack.person("ru", 1002).in_group()
