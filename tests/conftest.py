"""What every test shares."""

import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests import services

# No deadline: the machine may be loaded. Real servers are shared between examples on purpose.
settings.register_profile(
    "easel",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("easel")

# Whoever is started in the background by a script ignores Ctrl-C, and so would all that we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Through the standard library, so that `caplog` has it, and without costly pretty tracebacks.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
)


@pytest.fixture(scope="session")
def sketches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Pod]:
    """A GPU server that draws sketches, shared by all tests that leave it as it was."""
    with services.pod(tmp_path_factory.mktemp("pod")) as pod:
        yield pod


@pytest.fixture(scope="session")
def easel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Platform]:
    """The whole platform as processes, shared by all tests that leave it as it was."""
    with services.platform(tmp_path_factory.mktemp("easel")) as platform:
        yield platform
