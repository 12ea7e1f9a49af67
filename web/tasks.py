"""The tasks a service is made of, which run for as long as it does."""

import asyncio
import signal

import structlog

log = structlog.get_logger()


def end_if_broken(part: asyncio.Task[None]) -> None:
    """To be told of each part's end. A service without one of its parts would take on what it
    never does: when one breaks, the process ends, to be started again."""
    if not part.cancelled() and part.exception() is not None:
        log.critical("part_broke", part=part.get_name(), exc_info=part.exception())
        signal.raise_signal(signal.SIGTERM)
