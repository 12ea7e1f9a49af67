"""Event streams that one leader begins and the next one continues, spliced between two events."""

from collections.abc import AsyncIterator, Mapping

_LAST_EVENTS = (b"event: result", b".completed", b"event: error")


def is_stream(headers: Mapping[str, str]) -> bool:
    return headers.get("content-type", "").startswith("text/event-stream")


def has_last_event(events: bytes) -> bool:
    """Return whether one of these events is the last that its stream would have."""
    return any(name in events for name in _LAST_EVENTS)


async def whole_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield whole events only. The next leader sends an event that breaks off again."""
    pending = bytearray()
    async for chunk in chunks:
        pending += chunk
        blank = pending.rfind(b"\n\n", max(0, len(pending) - len(chunk) - 1))
        if blank >= 0:
            yield bytes(pending[: blank + 2])
            del pending[: blank + 2]
