"""`logs`: a service's lines, followed across dropped connections."""

import re
import time
from collections import Counter, deque
from collections.abc import Callable

from infra.channel import Deadline
from infra.commands import startup
from infra.console import Output
from infra.errors import ConnectionLostError, ProtocolError, UnreachableError, UsageError
from infra.framing import Sink
from infra.session import Outcome, Session

_REMEMBERED = 1000
_ANCHOR = 20
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
            session.console.say(f"{error}; reconnecting")
        replay.begin()
        count = max(_REMEMBERED, session.options.lines)
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

    The server then repeats the last lines of the log. They are collected until it pauses,
    and what follows the last lines seen before is passed on.
    """

    def __init__(self, line: Sink, quiet_seconds: float = _QUIET_SECONDS) -> None:
        self.started = False
        self._line = line
        self._quiet_seconds = quiet_seconds
        self._seen: deque[bytes] = deque(maxlen=_REMEMBERED)
        self._repeated: list[bytes] | None = None
        self._quiet = Deadline(None)
        self._limit = Deadline(None)

    def begin(self) -> None:
        """What comes next repeats what was seen."""
        self._repeated = []
        self._quiet = self._limit = Deadline(None)

    def line(self, line: bytes) -> None:
        self.started = True
        if self._repeated is None:
            self._pass([line])
            return
        if not self._repeated:
            self._limit = Deadline(_REPLAY_SECONDS)
        self._repeated.append(line)
        self._quiet = Deadline(self._quiet_seconds)

    def tick(self) -> None:
        """To be called several times a second."""
        if self._repeated and (self._quiet.passed or self._limit.passed):
            repeated, self._repeated = self._repeated, None
            self._pass(_new_lines(list(self._seen), repeated))

    def _pass(self, lines: list[bytes]) -> None:
        for line in lines:
            self._seen.append(line)
            self._line(line)


def _new_lines(seen: list[bytes], repeated: list[bytes]) -> list[bytes]:
    anchor = seen[-_ANCHOR:]
    for start in range(len(repeated) - len(anchor), -1, -1):
        if repeated[start : start + len(anchor)] == anchor:
            return repeated[start + len(anchor) :]
    # several files in one stream come in another order: whatever was not seen is new
    unseen, new = Counter(seen), list[bytes]()
    for line in repeated:
        if unseen[line] > 0:
            unseen[line] -= 1
        else:
            new.append(line)
    return new
