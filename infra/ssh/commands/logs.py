"""`logs`: a service's lines, followed across dropped connections."""

import re
import time
from collections import defaultdict, deque
from collections.abc import Callable

from infra.ssh.commands.run import startup
from infra.ssh.connection.channel import Deadline
from infra.ssh.connection.framing import Sink
from infra.ssh.console import Output
from infra.ssh.errors import (
    ConnectionLostError,
    ProtocolError,
    TimeLimitError,
    UnreachableError,
    UsageError,
)
from infra.ssh.session import Outcome, Session

_REPEATED = 1000
_ANCHORS = (20, 3)
_HEADING = re.compile(rb"==> .+ <==\r?\n")
_QUIET_SECONDS = 0.7
_REPLAY_SECONDS = 5.0
_PAUSES = (0.2, 1.0, 2.0, 5.0, 10.0)


def logs(session: Session) -> Outcome:
    """`logs [SERVICE] [-f] [-n N] [--grep REGEX]`."""
    wanted = _filter(session.options.grep)
    with session.console.output() as output:
        if session.options.follow:
            return Outcome(_follow(session, output, wanted))
        lines = Lines(lambda line: output.stdout(line) if wanted(line) else None)
        with session.connect() as remote:
            code = remote.run(
                _script(session, session.options.lines),
                stdout=lines.feed,
                stderr=output.stderr,
                timeout=session.options.timeout,
            )
        lines.end()
        fields = output.fields()
    return Outcome(code, {"via": remote.route.via, **fields})


def _follow(session: Session, output: Output, wanted: Callable[[bytes], bool]) -> int:
    replay = Replay(lambda line: output.stdout(line) if wanted(line) else None)
    deadline = Deadline(session.options.timeout)
    count, failures = session.options.lines, 0
    while True:
        lines = Lines(replay.line)
        try:
            with session.connect() as remote:
                failures = 0
                return remote.run(
                    _script(session, count, "-f"),
                    stdout=lines.feed,
                    stderr=output.stderr,
                    timeout=deadline.left,
                    tick=replay.tick,
                )
        except (ConnectionLostError, UnreachableError, ProtocolError) as error:
            if not replay.started:
                raise
            if deadline.passed:
                raise TimeLimitError("the time limit passed while reconnecting") from error
            session.console.say(f"{error}; reconnecting")
        replay.begin()
        count = max(_REPEATED, session.options.lines)
        time.sleep(deadline.at_most(_PAUSES[min(failures, len(_PAUSES) - 1)]))
        failures += 1


def _script(session: Session, count: int, *follow: str) -> str:
    service = [] if session.options.service is None else [session.options.service]
    return startup(session, "logs", *service, "-n", str(count), *follow)


def _filter(pattern: str | None) -> Callable[[bytes], bool]:
    if pattern is None:
        return lambda _: True
    try:
        found = re.compile(pattern.encode()).search
    except re.error as error:
        raise UsageError(f"--grep {pattern!r}: not a regular expression: {error}") from error
    return lambda line: found(line.rstrip(b"\r\n")) is not None


class Lines:
    """Cuts a stream into lines, each with its line end."""

    def __init__(self, line: Sink) -> None:
        self._line = line
        self._rest = b""

    def feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line + b"\n")

    def end(self) -> None:
        """The last line, if no line end follows it."""
        if self._rest:
            self._line(self._rest)
            self._rest = b""


class Replay:
    """Passes lines on; after a reconnection, only those that are new.

    The server then repeats the last lines of each log. They are collected until it pauses,
    and what follows the last lines seen of that log is passed on. Several logs in one stream
    are told apart by the headings of `tail`.
    """

    def __init__(self, line: Sink, quiet_seconds: float = _QUIET_SECONDS) -> None:
        self.started = False
        self._line = line
        self._quiet_seconds = quiet_seconds
        self._heading = b""
        self._seen: dict[bytes, deque[bytes]] = defaultdict(lambda: deque(maxlen=_ANCHORS[0]))
        self._repeated: dict[bytes, list[bytes]] | None = None
        self._quiet = Deadline(None)
        self._limit = Deadline(None)

    def begin(self) -> None:
        """What comes next repeats what was seen."""
        self._repeated = {}
        self._heading = b""
        self._quiet = self._limit = Deadline(None)

    def line(self, line: bytes) -> None:
        self.started = True
        if _HEADING.fullmatch(line):
            self._heading = line
        if self._repeated is None:
            self._show(self._heading, line)
            return
        if not self._repeated:
            self._limit = Deadline(_REPLAY_SECONDS)
        self._quiet = Deadline(self._quiet_seconds)
        lines = self._repeated.setdefault(self._heading, [])
        if line != self._heading:
            lines.append(line)

    def tick(self) -> None:
        """To be called several times a second."""
        if self._repeated and (self._quiet.passed or self._limit.passed):
            repeated, self._repeated = self._repeated, None
            for heading, lines in repeated.items():
                new = _after([*self._seen[heading]], [line for line in lines if line.strip()])
                for line in (heading, *new) if heading and new else new:
                    self._show(heading, line)

    def _show(self, heading: bytes, line: bytes) -> None:
        if line.strip() and line != heading:  # `tail` puts empty lines between logs
            self._seen[heading].append(line)
        self._line(line)


def _after(seen: list[bytes], repeated: list[bytes]) -> list[bytes]:
    """What follows the lines seen; everything if they are no longer there."""
    for length in _ANCHORS:
        anchor = seen[-length:]
        for end in range(len(repeated), len(anchor) - 1, -1) if anchor else ():
            if repeated[end - len(anchor) : end] == anchor:
                return repeated[end:]
    return repeated
