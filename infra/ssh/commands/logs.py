"""`logs`: show a service's lines, and follow them across dropped connections."""

import re
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from infra.ssh.commands.services import startup
from infra.ssh.connection.channel import Deadline
from infra.ssh.connection.framing import Sink
from infra.ssh.errors import (
    CommandTimeoutError,
    ConnectionLostError,
    ProtocolError,
    UnreachableError,
    UsageError,
)
from infra.ssh.session import Outcome, Session

_REPLAYED_LINES = 1000
"""How many lines to request again after a reconnection, at least."""
_ANCHOR_LENGTHS = (20, 3)
"""How many of the last lines to look for in a replay: many first, then few."""
_HEADING = re.compile(rb"==> .+ <==\r?\n")
_REPLAY_PAUSE_S = 0.7
"""A silence of this length ends a replay."""
_REPLAY_TIMEOUT_S = 5.0
"""How long a replay may last without such a silence."""
_RECONNECT_DELAYS_S = (0.2, 1.0, 2.0, 5.0, 10.0)


def logs(session: Session) -> Outcome:
    """Run `logs [SERVICE] [-f] [-n N | --since TIME] [--grep REGEX]`."""
    matches = _filter(session.options.grep)
    with session.console.output() as output:

        def show(line: bytes) -> None:
            if matches(line):
                output.stdout(line)

        if session.options.follow:
            return Outcome(_follow(session, ReplayFilter(show), output.stderr))
        lines = LineSplitter(show)
        with session.connect() as remote:
            code = remote.run(
                _script(session, session.options.lines, *_since(session)),
                stdout=lines.feed,
                stderr=output.stderr,
                timeout=session.options.timeout,
            )
        if lines.rest:  # a last line without a line end
            show(lines.rest)
        fields = output.fields()
    return Outcome(code, {"via": remote.route.via, **fields})


def _follow(session: Session, replay: "ReplayFilter", stderr: Sink) -> int:
    deadline = Deadline(session.options.timeout)
    count, failures, since = session.options.lines, 0, _since(session)
    while True:
        lines = LineSplitter(replay.line)
        try:
            with session.connect() as remote:
                failures = 0
                return remote.run(
                    _script(session, count, *since, "-f"),
                    stdout=lines.feed,
                    stderr=stderr,
                    timeout=deadline.remaining,
                    tick=replay.tick,
                )
        except (ConnectionLostError, UnreachableError, ProtocolError) as error:
            if not replay.started:
                raise
            if deadline.expired:
                raise CommandTimeoutError("timed out while reconnecting") from error
            session.console.say(f"{error}; reconnecting")
        replay.begin()
        count, since = max(_REPLAYED_LINES, session.options.lines), []
        delay = _RECONNECT_DELAYS_S[min(failures, len(_RECONNECT_DELAYS_S) - 1)]
        time.sleep(min(delay, deadline.remaining))
        failures += 1


def _since(session: Session) -> list[str]:
    since = session.options.since
    return [] if since is None else ["--since", since]


def _script(session: Session, count: int, *options: str) -> str:
    service = [] if session.options.service is None else [session.options.service]
    return startup(session, "logs", *service, "-n", str(count), *options)


def _filter(pattern: str | None) -> Callable[[bytes], bool]:
    try:
        search = re.compile((pattern or "").encode()).search
    except re.error as error:
        raise UsageError(f"--grep {pattern!r}: not a regular expression: {error}") from error
    return lambda line: search(line.rstrip(b"\r\n")) is not None


@dataclass(eq=False)
class LineSplitter:
    """Split a stream into lines, each with its line end."""

    show: Sink
    rest: bytes = b""

    def feed(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.show(line + b"\n")


class ReplayFilter:
    """Pass lines on; after a reconnection, only the new ones.

    The server then repeats the last lines of each log. They are collected until it pauses, and
    only those after the last lines seen of that log are passed on. The headings of `tail` tell
    several logs in one stream apart.
    """

    def __init__(self, line: Sink, pause_s: float = _REPLAY_PAUSE_S) -> None:
        self.started = False
        self._line = line
        self._pause_s = pause_s
        self._heading = b""
        self._seen = defaultdict[bytes, deque[bytes]](lambda: deque(maxlen=_ANCHOR_LENGTHS[0]))
        self._replayed: dict[bytes, list[bytes]] | None = None
        self._pause = self._timeout = Deadline(None)

    def begin(self) -> None:
        """Treat the lines from now on as a replay."""
        self._replayed = {}
        self._heading = b""
        self._pause = self._timeout = Deadline(None)

    def line(self, line: bytes) -> None:
        self.started = True
        if _HEADING.fullmatch(line):
            self._heading = line
        if self._replayed is None:
            self._show(self._heading, line)
            return
        if not self._replayed:
            self._timeout = Deadline(_REPLAY_TIMEOUT_S)
        self._pause = Deadline(self._pause_s)
        lines = self._replayed.setdefault(self._heading, [])
        if line != self._heading:
            lines.append(line)

    def tick(self) -> None:
        """End the replay when it has paused; to be called several times a second."""
        if self._replayed and (self._pause.expired or self._timeout.expired):
            replayed, self._replayed = self._replayed, None
            for heading, lines in replayed.items():
                new = _new_lines([*self._seen[heading]], [line for line in lines if line.strip()])
                for line in (heading, *new) if heading and new else new:
                    self._show(heading, line)

    def _show(self, heading: bytes, line: bytes) -> None:
        if line.strip() and line != heading:  # `tail` puts empty lines between logs
            self._seen[heading].append(line)
        self._line(line)


def _new_lines(seen: list[bytes], replayed: list[bytes]) -> list[bytes]:
    """Return the replayed lines after those seen; all of them if none of those is left."""
    for length in _ANCHOR_LENGTHS:
        anchor = seen[-length:]
        for end in range(len(replayed), len(anchor) - 1, -1) if anchor else ():
            if replayed[end - len(anchor) : end] == anchor:
                return replayed[end:]
    return replayed
