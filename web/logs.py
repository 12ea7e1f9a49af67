"""Logs: one JSON line per event on stdout, without prompts, images or secrets.

Everything goes through the standard library's logging, so that lines of libraries look the same.
"""

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRETS = re.compile(
    r"""(?P<bot>(?<!\d)\d{5,12}:[A-Za-z0-9_-]{30,})   # Telegram bot tokens, also inside URLs
      | (?P<bearer>(?<=[Bb]earer\ )[^\s"',]+)
      | (?P<key>\b(?:hf|rpa|sk)_[A-Za-z0-9_-]{8,})""",
    re.VERBOSE,
)
_NOISY = ("httpx", "httpcore", "websockets", "uvicorn.access", "PIL", "asyncio", "multipart", "mcp")


def redact(text: str) -> str:
    """Replace every token in the text by ***."""
    return _SECRETS.sub("***", text)


def _redact_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {key: _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return redact(value)
        case None | bool() | int() | float():
            return value
        case dict():
            return {str(key): _redacted(inner) for key, inner in value.items()}
        case list() | tuple() | set():
            return [_redacted(inner) for inner in value]
        case _:
            return redact(str(value))


def _trace_exception(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Log where an exception came from, without its message, which may quote a prompt."""
    match event.pop("exc_info", None):
        case BaseException() as error:
            pass
        case (_, error, _):
            pass
        case is_wanted:
            error = sys.exc_info()[1] if is_wanted else None
    if error is not None:
        event["exception"] = "".join(_traced(error))
    return event


def _traced(error: BaseException) -> Iterator[str]:
    """Yield the lines of a traceback, causes first; of each exception only its type."""
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier is not None:
        yield from _traced(earlier)
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__name__}\n"
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _traced(inner)


def configure(service: str, level: str = "INFO") -> None:
    """Set up logging for this process; call once, in the entry point."""

    def name_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", key="ts"),
        _trace_exception,
        name_service,
        _redact_values,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
