"""Fixtures and options that every test shares."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests import fast, services

# No deadline: the machine may be loaded. Real servers are shared between examples on purpose.
settings.register_profile(
    "easel",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("easel")

# A program that a script starts in the background ignores Ctrl-C; so would all that we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Through the standard library, so that `caplog` sees it, and without costly pretty tracebacks.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="only tests that start nothing")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    is_slow = collection_path.suffix == ".py" and not fast.is_fast(collection_path)
    return True if config.getoption("fast") and is_slow else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("fast"):
        slow = {item for item in items if not fast.uses_fast_fixtures(item)}
        config.hook.pytest_deselected(items=list(slow))
        items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Pod]:
    """Run a GPU server that draws sketches, for all tests that leave it as it was."""
    with services.pod(tmp_path_factory.mktemp("pod")) as pod:
        yield pod


@pytest.fixture(scope="session")
def easel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Platform]:
    """Run the whole platform as processes, for all tests that leave it as it was."""
    with services.platform(tmp_path_factory.mktemp("easel")) as platform:
        yield platform
