"""Logs: one JSON line per event on stdout, without prompts, pictures or secrets.

Everything goes through the standard library's logging, so that a library's lines look the same.
"""

import logging
import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRETS = re.compile(
    r"""(?P<bot>(?<!\d)\d{5,12}:[A-Za-z0-9_-]{30,})   # Telegram bot tokens, also inside URLs
      | (?P<bearer>(?<=[Bb]earer\ )[^\s"',]+)
      | (?P<key>\b(?:hf|rpa|sk)_[A-Za-z0-9_-]{8,})""",
    re.VERBOSE,
)
_NOISY = ("httpx", "httpcore", "websockets", "uvicorn.access", "PIL", "asyncio", "multipart")


def redact(text: str) -> str:
    """The text with every token in it replaced by ***."""
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


def configure(service: str, level: str = "INFO") -> None:
    """Set up logging for this process; call once, in the entry point."""

    def name_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", key="ts"),
        structlog.processors.format_exc_info,
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
