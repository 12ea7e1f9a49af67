"""Bytes in both directions between this process and one SSH channel."""

import os
import select
import time
from collections.abc import Callable

import paramiko

from infra.ssh.connection.framing import Sink
from infra.ssh.connection.interrupts import held

_CHUNK = 262144
_WAIT = 0.25
_WAIT_FOR_WINDOW = 0.01


class Deadline:
    """A moment some seconds from now; None never comes."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    @property
    def passed(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end

    @property
    def left(self) -> float | None:
        """Seconds until then, not below 0; None if it never comes."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def at_most(self, seconds: float) -> float:
        """The shorter of these seconds and what is left, not below 0."""
        return (
            seconds if self._end is None else max(0.0, min(seconds, self._end - time.monotonic()))
        )


class Feed:
    """What is to be sent: first some bytes, then a file as it becomes readable.

    `encode` is applied to each piece of the file; its end is announced by `at_end`.
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
    def blocked(self) -> bool:
        return bool(self._pending)

    @property
    def source(self) -> int | None:
        """The descriptor to wait for, if it is the next thing needed."""
        return None if self._pending else self._file

    def push(self, channel: paramiko.Channel) -> bool:
        """Sends what can be sent without waiting; False if nothing could."""
        try:
            if not self._pending and not self._refill():
                return False
            if not channel.send_ready():
                return False
            with held():
                self._pending = self._pending[channel.send(bytes(self._pending[:65536])) :]
        except OSError:  # the remote side has ended and wants no more; how, its status says
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


def nothing_to_send() -> Feed:
    """A feed that never sends and never ends."""
    return Feed(b"", None, bytes, bytes)


def pump(
    channel: paramiko.Channel,
    feed: Feed,
    stdout: Sink,
    stderr: Sink,
    until: Callable[[], bool],
) -> None:
    """Moves bytes until `until()` holds or the remote side has sent everything.

    Reading never waits for writing nor the reverse, so neither side can block the other.
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
        stdout(_received(channel.recv))
        received = True
    if channel.recv_stderr_ready():
        stderr(_received(channel.recv_stderr))
        received = True
    return received


def _received(receive: Callable[[int], bytes]) -> bytes:
    with held():  # receiving sends too: that there is room again
        return receive(_CHUNK)


def _wait(channel: paramiko.Channel, feed: Feed) -> None:
    if channel.eof_received:
        channel.status_event.wait(_WAIT)
        return
    sources: list[paramiko.Channel | int] = [channel]
    if feed.source is not None:
        sources.append(feed.source)
    select.select(sources, [], [], _WAIT_FOR_WINDOW if feed.blocked else _WAIT)
