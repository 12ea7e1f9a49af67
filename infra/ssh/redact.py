"""Redact secrets from everything that is shown."""

import re
from collections.abc import Callable

_SECRET = re.compile(
    rb"(?<!\d)\d{6,}:[\w-]{35}(?![\w-])"  # Telegram bot token
    rb"|\b(?:hf|api_org|rpa)_[A-Za-z0-9]{8,}"  # Hugging Face, RunPod
    rb"|(?i:(?P<name>\b\w*(?:token|api_?key)=)[\w.~+/-]{16,})"  # such as CivitAI's, in an address
    rb"|(?i:(?P<scheme>\bbearer[ \t]+)[\w.~+/=-]{8,})"
)
_LONGEST_SECRET = 4096
_UNFINISHED_WORD = re.compile(rb"(?i:\bbearer[ \t]+)?[\w:.~+/=-]*\Z")
_MASK = b"[redacted]"


def redact(data: bytes) -> bytes:
    """Mask bot tokens, keys of Hugging Face and RunPod, `…token=` values and Bearer tokens."""
    return _SECRET.sub(lambda match: (match["scheme"] or match["name"] or b"") + _MASK, data)


def redact_text(text: str) -> str:
    return redact(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")


def holds_secret(text: str) -> bool:
    return _SECRET.search(text.encode("utf-8", "surrogateescape")) is not None


class Redactor:
    """Redact a stream, even where a secret is split between two chunks.

    A chunk's last word is held back until the next bytes are known; `flush` releases it.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._held = b""

    def feed(self, data: bytes) -> None:
        buffer = self._held + data
        tail = buffer[-_LONGEST_SECRET:]
        unfinished = _UNFINISHED_WORD.search(tail)
        end = len(buffer) - (len(tail) - unfinished.start() if unfinished else 0)
        self._held = buffer[end:]
        self._emit(buffer[:end])

    def flush(self) -> None:
        held, self._held = self._held, b""
        self._emit(held)

    def _emit(self, data: bytes) -> None:
        if data:
            self._write(redact(data))
