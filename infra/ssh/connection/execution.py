"""Run one script on a host: directly, or through a gateway's terminal."""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import paramiko

from infra.ssh.connection.channel import Deadline, Feed, pump
from infra.ssh.connection.framing import Frame, OutputFilter, Sink, stdin_frame
from infra.ssh.connection.interrupts import deferred
from infra.ssh.errors import (
    CommandTimeoutError,
    ConnectionLostError,
    InterruptError,
    ProtocolError,
    SshError,
)
from infra.ssh.routes import Route

_SIGNAL_TIMEOUT_S = 3.0
"""How long to wait for the remote process to end after each signal."""
_RETYPE_S = 3.0
"""How long to wait for a gateway's shell to answer before typing the line again."""


@dataclass(kw_only=True, eq=False)
class Execution(ABC):
    """A script in one channel, from its start to its exit status.

    If it has not begun by `begin`, it counts as never run. For the others see `Remote.run`.
    """

    channel: paramiko.Channel
    route: Route
    script: str
    stdin: int | None
    stdout: Sink
    stderr: Sink
    begin: Deadline
    deadline: Deadline
    tick: Callable[[], None]

    def __post_init__(self) -> None:
        self._frame = Frame()
        self._output = self._filter()
        self._sent = False  # whether any part of the script may have reached the host

    def finish(self) -> int:
        """Run the script to its end and return its exit status; `Remote.run` lists the errors."""
        try:
            feed = self._start()
            self._sent = True
            self._pump(feed, self._over)
            if self.deadline.expired and self._output.started and self._status() is None:
                raise CommandTimeoutError(f"timed out; {self._end('TERM', 'KILL')}")
        except KeyboardInterrupt:
            raise InterruptError(f"interrupted; {self._end('INT', 'TERM', 'KILL')}") from None
        if not self._output.started:
            if not self.channel.get_transport().is_active():
                raise ConnectionLostError(
                    f"{self.route} closed the connection; whether the command was run is unknown"
                )
            raise self._never_began()
        status = self._status()
        if status is None:
            raise ConnectionLostError(
                f"{self.route} closed the connection; how the command ended is unknown"
            )
        return status

    @abstractmethod
    def _filter(self) -> OutputFilter: ...

    @abstractmethod
    def _start(self) -> Feed:
        """Start the loader and return the input for it."""

    @abstractmethod
    def _status(self) -> int | None:
        """Return the exit status, or None while it is unknown."""

    def _end(self, *signals: str) -> str:
        """End the remote process, gentlest signal first, and return what became of it."""
        if not self._sent:
            return "nothing was run"
        self._wait_for(lambda: self._output.started)  # the script may be about to begin
        if self._output.opening is None:
            return "nothing was run" if self._ended else "whether it was run is unknown"
        for name in signals:
            arrived = self._signal(name, self._output.opening[1].decode())
            self._wait_for(lambda: self._output.status is not None)
            if self._ended:
                return "the remote command was ended"
            if not arrived:  # the next one would not either
                break
        return "the remote command may still be running"

    def _signal(self, name: str, group: str) -> bool:
        """Signal the remote process group; return whether the host answered.

        A second command does it: OpenSSH ignores signal requests when root is logged in.
        """
        try:
            transport = self.channel.get_transport()
            with contextlib.closing(transport.open_session(timeout=_SIGNAL_TIMEOUT_S)) as channel:
                replace(
                    self,
                    channel=channel,
                    script=f"kill -{name} -- -{group}",
                    stdin=None,
                    stdout=lambda _: None,
                    stderr=lambda _: None,
                    begin=Deadline(_SIGNAL_TIMEOUT_S),
                    deadline=Deadline(_SIGNAL_TIMEOUT_S),
                    tick=lambda: None,
                ).finish()
        except (KeyboardInterrupt, InterruptError):  # asked for the next signal
            return True
        except (SshError, paramiko.SSHException, EOFError):
            return False
        return True

    def _over(self) -> bool:
        self.tick()
        late = self.deadline.expired or (self.begin.expired and not self._output.started)
        return late or self._output.status is not None

    def _pump(self, feed: Feed, until: Callable[[], bool]) -> None:
        pump(self.channel, feed, self._output.feed, self.stderr, until)

    def _wait_for(self, event: Callable[[], bool]) -> None:
        """Wait briefly for the event or the end, passing output on; Ctrl-C cuts it short."""
        deadline = Deadline(_SIGNAL_TIMEOUT_S)
        with contextlib.suppress(KeyboardInterrupt):
            self._pump(Feed(), lambda: event() or deadline.expired)

    @property
    def _ended(self) -> bool:
        return self._status() is not None or self.channel.closed

    def _never_began(self) -> ProtocolError:
        noise = self._output.noise
        answer = f'; it said: "{noise[-300:]}"' if noise else ""
        hint = ". Is bash installed there?"
        if self.route.via == "direct" and "PTY" in noise:
            hint = '. It offers only a terminal: configure it as "proxy", not "direct"'
        return ProtocolError(f"{self.route} did not run the command{answer}{hint}")


class DirectExecution(Execution):
    """Run through an exec request, with exit status, signals and separate error output."""

    def _filter(self) -> OutputFilter:
        return OutputFilter(self.stdout, self._frame.begin)

    def _start(self) -> Feed:
        payload = self._frame.plain_payload(self.script)
        with deferred():
            self.channel.exec_command(self._frame.loader(payload))
        return Feed(payload, self.stdin, bytes, self._end_of_input)

    def _end_of_input(self) -> bytes:
        self.channel.shutdown_write()
        return b""

    def _status(self) -> int | None:
        known = self.channel.exit_status_ready() and self.channel.exit_status >= 0
        return self.channel.exit_status if known else None


class GatewayExecution(Execution):
    """Run through the terminal of a gateway that offers nothing else (RunPod's ssh.runpod.io).

    Such a gateway answers an exec request with an error text and exit status 0, so only our own
    markers count. Error output arrives as part of the output.
    """

    def _filter(self) -> OutputFilter:
        return OutputFilter(self.stdout, self._frame.begin, self._frame.end)

    def _start(self) -> Feed:
        piped = self.stdin is not None
        payload = self._frame.terminal_payload(self.script, stdin=piped)
        with deferred():
            self.channel.get_pty("dumb", 200, 50)
            self.channel.invoke_shell()
        self._type(self._frame.probe(), self._frame.ready, retype_s=_RETYPE_S)
        self._type(self._frame.typed_loader(payload), self._frame.loading)
        return Feed(payload, self.stdin, stdin_frame, lambda: stdin_frame(b"") if piped else b"")

    def _type(
        self, line: bytes, marker: re.Pattern[bytes], *, retype_s: float | None = None
    ) -> None:
        """Type a line and wait for its marker; some gateways lose what is typed early."""
        answer, retype = OutputFilter(lambda _: None, marker), Deadline(retype_s)

        def paused() -> bool:
            return answer.started or retype.expired or self._over()

        while not answer.started and not self._over() and not self.channel.closed:
            with deferred():
                self.channel.sendall(line)
            retype = Deadline(retype_s)
            pump(self.channel, Feed(), answer.feed, answer.feed, paused)
        if not answer.started:
            self._output.feed(answer.noise.encode())
            raise self._never_began()

    def _status(self) -> int | None:
        return self._output.status

    def _signal(self, name: str, group: str) -> bool:
        if name != "INT" or not self.channel.send_ready():  # not ready while input waits to be read
            return super()._signal(name, group)
        with deferred():
            self.channel.send(b"\x03")
        return True
