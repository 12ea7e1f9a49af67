"""What every test shares."""

import structlog
from hypothesis import HealthCheck, settings

# No deadline: the machine may be loaded. Real servers are shared between examples on purpose.
settings.register_profile(
    "easel",
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("easel")

# Through the standard library, so that `caplog` has it, and without costly pretty tracebacks.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    logger_factory=structlog.stdlib.LoggerFactory(),
)
