"""One Easel for all of these tests, each with people of its own."""

from collections.abc import Iterator

import pytest

from tests.telegram_bot.stack import Person, Service, Stack

ADMIN = 40_001


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
    """The running bot; started again where a test has ended it."""
    if shared_bot.process is None or shared_bot.process.poll() is not None:
        stack.restart(shared_bot)
    return shared_bot


@pytest.fixture
def ann(stack: Stack, bot: Service) -> Person:
    """Somebody new, who reads English."""
    return stack.person("en")


@pytest.fixture
def masha(stack: Stack, bot: Service) -> Person:
    """Somebody new, who reads Russian."""
    return stack.person("ru")


@pytest.fixture
def admin(stack: Stack, bot: Service) -> Person:
    return stack.person("en", ADMIN)


@pytest.fixture
def alex(stack: Stack, bot: Service) -> Person:
    """Who reads English and is in the group."""
    return stack.person("en", 1001).in_group()


@pytest.fixture
def maria(stack: Stack, bot: Service) -> Person:
    """Who reads Russian and is in the group."""
    return stack.person("ru", 1002).in_group()
