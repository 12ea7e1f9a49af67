"""Move bytes in both directions between this process and one SSH channel."""

import math
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

import paramiko

from infra.ssh.connection.framing import Sink
from infra.ssh.connection.interrupts import deferred

_CHUNK = 262144
_POLL_S = 0.25
"""How long to wait for data before asking `until` again."""
_WINDOW_POLL_S = 0.01
"""The same while the remote side has no room for more input, which no descriptor announces."""


def reason(error: Exception) -> str:
    """Return why a channel or connection failed, for people."""
    if isinstance(error, paramiko.ChannelException):
        return f"the server refused it ({error.text.lower()})"
    return str(error) or "it hung up"


class Deadline:
    """A moment some seconds from now; with None it never comes."""

    def __init__(self, seconds: float | None) -> None:
        self._end = time.monotonic() + (math.inf if seconds is None else seconds)

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self._end

    @property
    def remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())


@dataclass(eq=False)
class Feed:
    """Input for a channel: first the `pending` bytes, then a file as it becomes readable.

    `encode` is applied to each piece of the file, `at_end` supplies the bytes after the last one.
    """

    pending: bytes | memoryview = b""
    file: int | None = None
    encode: Callable[[bytes], bytes] = bytes
    at_end: Callable[[], bytes] | None = None

    def push(self, channel: paramiko.Channel) -> bool:
        """Send what can be sent without waiting; return whether anything was sent."""
        try:
            if not self.pending:
                self._refill()
            if not self.pending or not channel.send_ready():
                return False
            with deferred():
                self.pending = self.pending[channel.send(bytes(self.pending[:65536])) :]
        except OSError:  # the remote side takes no more input; its exit status says why
            self.pending, self.file, self.at_end = b"", None, None
            return False
        return True

    def _refill(self) -> None:
        if self.file is not None:
            if not select.select([self.file], [], [], 0)[0]:
                return
            if data := os.read(self.file, _CHUNK):
                self.pending = memoryview(self.encode(data))
                return
            self.file = None
        if self.at_end is not None:
            at_end, self.at_end = self.at_end, None
            self.pending = at_end()


def pump(
    channel: paramiko.Channel, feed: Feed, stdout: Sink, stderr: Sink, until: Callable[[], bool]
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
    out, err = channel.recv_ready(), channel.recv_stderr_ready()
    if out:
        stdout(_receive(channel.recv))
    if err:
        stderr(_receive(channel.recv_stderr))
    return out or err


def _receive(read: Callable[[int], bytes]) -> bytes:
    with deferred():  # reading also sends: it tells the remote side that there is room again
        return read(_CHUNK)


def _wait(channel: paramiko.Channel, feed: Feed) -> None:
    if channel.eof_received:
        channel.status_event.wait(_POLL_S)
        return
    sources: list[paramiko.Channel | int] = [channel]
    if feed.file is not None and not feed.pending:  # reading it is the next step
        sources.append(feed.file)
    select.select(sources, [], [], _WINDOW_POLL_S if feed.pending else _POLL_S)
