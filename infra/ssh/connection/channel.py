"""Move bytes in both directions between this process and one SSH channel."""

import math
import os
import select
import time
from collections.abc import Callable

import paramiko

from infra.ssh.connection.framing import Sink
from infra.ssh.connection.interrupts import deferred

_CHUNK = 262144
_POLL_S = 0.25
"""How long to wait for data before asking `until` again."""
_WINDOW_POLL_S = 0.01
"""The same while the remote side has no room for more input, which no descriptor announces."""


class Deadline:
    """A moment some seconds from now; with None it never comes."""

    def __init__(self, seconds: float | None) -> None:
        self._end = time.monotonic() + (math.inf if seconds is None else seconds)

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self._end

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, never negative, possibly infinite."""
        return max(0.0, self._end - time.monotonic())


class Feed:
    """Input for a channel: first some bytes, then a file as it becomes readable.

    `encode` is applied to each piece of the file, `at_end` supplies the bytes after the last one.
    """

    def __init__(
        self,
        first: bytes,
        file: int | None,
        encode: Callable[[bytes], bytes],
        at_end: Callable[[], bytes],
    ) -> None:
        self._pending = memoryview(first)
        self._file = file
        self._encode = encode
        self._at_end = at_end
        self._ended = False

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    @property
    def source(self) -> int | None:
        """The descriptor to wait for, if reading it is the next step."""
        return None if self._pending else self._file

    def push(self, channel: paramiko.Channel) -> bool:
        """Send what can be sent without waiting; return whether anything was sent."""
        try:
            if not self._pending and not self._refill():
                return False
            if not channel.send_ready():
                return False
            with deferred():
                self._pending = self._pending[channel.send(bytes(self._pending[:65536])) :]
        except OSError:  # the remote side takes no more input; its exit status says why
            self._pending, self._file, self._ended = memoryview(b""), None, True
            return False
        return True

    def _refill(self) -> bool:
        if self._file is None:
            if self._ended:
                return False
            self._ended = True
            self._pending = memoryview(self._at_end())
            return bool(self._pending)
        if not select.select([self._file], [], [], 0)[0]:
            return False
        data = os.read(self._file, _CHUNK)
        if not data:
            self._file = None
            return self._refill()
        self._pending = memoryview(self._encode(data))
        return True


def no_input() -> Feed:
    """Return a feed that sends nothing and leaves the channel's input open."""
    return Feed(b"", None, bytes, bytes)


def pump(
    channel: paramiko.Channel,
    feed: Feed,
    stdout: Sink,
    stderr: Sink,
    until: Callable[[], bool],
) -> None:
    """Move bytes until `until()` holds or the remote side has sent everything.

    Reading never waits for writing, nor writing for reading, so neither side can block the other.
    """
    while not until():
        ended = channel.closed or (channel.eof_received and channel.exit_status_ready())
        received = _drain(channel, stdout, stderr)
        if ended and not received:
            return
        sent = not ended and feed.push(channel)
        if not received and not sent:
            _wait(channel, feed)


def _drain(channel: paramiko.Channel, stdout: Sink, stderr: Sink) -> bool:
    received = False
    if channel.recv_ready():
        stdout(_receive(channel.recv))
        received = True
    if channel.recv_stderr_ready():
        stderr(_receive(channel.recv_stderr))
        received = True
    return received


def _receive(read: Callable[[int], bytes]) -> bytes:
    with deferred():  # reading also sends: it tells the remote side that there is room again
        return read(_CHUNK)


def _wait(channel: paramiko.Channel, feed: Feed) -> None:
    if channel.eof_received:
        channel.status_event.wait(_POLL_S)
        return
    sources: list[paramiko.Channel | int] = [channel]
    if feed.source is not None:
        sources.append(feed.source)
    select.select(sources, [], [], _WINDOW_POLL_S if feed.has_pending else _POLL_S)
