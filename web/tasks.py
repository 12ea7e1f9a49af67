"""The long-running tasks of a service."""

import asyncio
import signal

import structlog

log = structlog.get_logger()


def end_if_broken(task: asyncio.Task[None]) -> None:
    """End the process when a long-running task crashed; a done callback.

    The supervisor starts the service again, which would otherwise accept work it cannot do.
    """
    if not task.cancelled() and task.exception() is not None:
        log.critical("task_crashed", task=task.get_name(), exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)
