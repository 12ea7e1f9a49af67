"""One script running on a host: directly, or through a gateway's terminal."""

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable

import paramiko

from infra.ssh.connection.channel import Deadline, Feed, nothing_to_send, pump
from infra.ssh.connection.framing import Frame, Sink, Window, stdin_frame
from infra.ssh.connection.interrupts import held
from infra.ssh.errors import (
    ConnectionLostError,
    InterruptError,
    ProtocolError,
    SshError,
    TimeLimitError,
)
from infra.ssh.targets import Route

_GRACE_SECONDS = 3.0
_RETYPE_SECONDS = 3.0


class Execution(ABC):
    """A script in one channel, from its start to its exit status.

    Args:
        stdin: a descriptor; None is empty.
        begin: when the script must have begun; otherwise it counts as never run.
        deadline: when it must have ended.
        tick: called several times a second.
    """

    def __init__(
        self,
        channel: paramiko.Channel,
        route: Route,
        script: str,
        *,
        stdin: int | None,
        stdout: Sink,
        stderr: Sink,
        begin: Deadline,
        deadline: Deadline,
        tick: Callable[[], None],
    ) -> None:
        self.channel = channel
        self.route = route
        self.script = script
        self.stdin = stdin
        self.stderr = stderr
        self.begin = begin
        self.deadline = deadline
        self.tick = tick
        self.frame = Frame()
        self.sent = False
        """Whether something of the script may have reached the host."""
        self.window = self._window(stdout)

    def finish(self) -> int:
        """Runs the script to its end and returns its exit status (0-255).

        Raises:
            TimeLimitError, InterruptError: the remote process was ended.
            ProtocolError: the script never began.
            ConnectionLostError: how it ended is unknown.
        """
        try:
            feed = self._start()
            self.sent = True
            self._pump(feed, self._over)
            if self.deadline.passed and self.window.started and self._status() is None:
                raise TimeLimitError(f"the time limit passed; {self._end('TERM', 'KILL')}")
        except KeyboardInterrupt:
            raise InterruptError(f"interrupted; {self._end('INT', 'TERM', 'KILL')}") from None
        if not self.window.started:
            raise self._never_began()
        status = self._status()
        if status is None:
            raise ConnectionLostError(
                f"{self.route} closed the connection; how the command ended is unknown"
            )
        return status

    @abstractmethod
    def _window(self, stdout: Sink) -> Window: ...

    @abstractmethod
    def _start(self) -> Feed:
        """Gets the loader running and returns what it is to be fed."""

    @abstractmethod
    def _status(self) -> int | None:
        """The exit status, None while it is unknown."""

    def _end(self, *signals: str) -> str:
        """Ends the remote process, politely first, and passes on its last words."""
        if not self.sent:
            return "nothing was run"
        self._await(lambda: self.window.started)  # it may begin only now
        if self.window.opening is None:
            return "nothing was run" if self._ended else "whether it was run is unknown"
        for name in signals:
            self._signal(name, self.window.opening[1].decode())
            self._await(lambda: self.window.status is not None)
            if self._ended:
                return "the remote command was ended"
        return "the remote command may still be running"

    def _signal(self, name: str, group: str) -> None:
        """Signals the remote process group.

        It is done by a second command: OpenSSH ignores signal requests when root is logged in.
        """
        with contextlib.suppress(SshError, paramiko.SSHException, EOFError, KeyboardInterrupt):
            transport = self.channel.get_transport()
            with contextlib.closing(transport.open_session(timeout=_GRACE_SECONDS)) as channel:
                type(self)(
                    channel,
                    self.route,
                    f"kill -{name} -- -{group}",
                    stdin=None,
                    stdout=lambda _: None,
                    stderr=lambda _: None,
                    begin=Deadline(_GRACE_SECONDS),
                    deadline=Deadline(_GRACE_SECONDS),
                    tick=lambda: None,
                ).finish()

    def _over(self) -> bool:
        self.tick()
        late = self.deadline.passed or (self.begin.passed and not self.window.started)
        return late or self.window.status is not None

    def _pump(self, feed: Feed, until: Callable[[], bool]) -> None:
        pump(self.channel, feed, self.window.feed, self.stderr, until)

    def _await(self, event: Callable[[], bool]) -> None:
        """Waits a little for the event, or the end; a further Ctrl-C waits no longer."""
        patience = Deadline(_GRACE_SECONDS)
        with contextlib.suppress(KeyboardInterrupt):
            self._pump(nothing_to_send(), lambda: event() or patience.passed)

    @property
    def _ended(self) -> bool:
        return self._status() is not None or self.channel.closed

    def _never_began(self) -> ProtocolError:
        said = f'; it said: "{self.window.noise[-300:]}"' if self.window.noise else ""
        hint = ". Is bash installed there?"
        if self.route.via == "direct" and "PTY" in self.window.noise:
            hint = '. It gives a terminal only: configure it as "proxy", not "direct"'
        return ProtocolError(f"{self.route} did not run the command{said}{hint}")


class DirectExecution(Execution):
    """Through an exec request, with exit status, signals and separate error output."""

    def _window(self, stdout: Sink) -> Window:
        return Window(stdout, self.frame.begin)

    def _start(self) -> Feed:
        payload = self.frame.plain_payload(self.script)
        with held():
            self.channel.exec_command(self.frame.loader(payload))
        return Feed(payload, self.stdin, bytes, self._end_of_input)

    def _end_of_input(self) -> bytes:
        self.channel.shutdown_write()
        return b""

    def _status(self) -> int | None:
        known = self.channel.exit_status_ready() and self.channel.exit_status >= 0
        return self.channel.exit_status if known else None


class GatewayExecution(Execution):
    """Through the terminal of a gateway that gives nothing else (RunPod's ssh.runpod.io).

    There an exec request is answered with an error text and exit status 0, so only our own
    markers count. Error output arrives as part of the output.
    """

    def _window(self, stdout: Sink) -> Window:
        return Window(stdout, self.frame.begin, self.frame.end)

    def _start(self) -> Feed:
        piped = self.stdin is not None
        payload = self.frame.terminal_payload(self.script, stdin=piped)
        with held():
            self.channel.get_pty("dumb", 200, 50)
            self.channel.invoke_shell()
        self._type(self.frame.probe(), self.frame.ready, again=True)
        self._type(self.frame.typed_loader(payload), self.frame.loading)
        return Feed(payload, self.stdin, stdin_frame, lambda: stdin_frame(b"") if piped else b"")

    def _type(self, line: bytes, answer: re.Pattern[bytes], *, again: bool = False) -> None:
        """Types a line and waits for its answer; some gateways lose what is typed early."""
        answered = Window(lambda _: None, answer)
        while not answered.started and not self._over() and not self.channel.closed:
            with held():
                self.channel.sendall(line)
            patience = Deadline(_RETYPE_SECONDS if again else None)
            self._await_answer(answered, patience)
        if not answered.started:
            self.window.feed(answered.noise.encode())
            raise self._never_began()

    def _await_answer(self, answered: Window, patience: Deadline) -> None:
        pump(
            self.channel,
            nothing_to_send(),
            answered.feed,
            answered.feed,
            lambda: answered.started or patience.passed or self._over(),
        )

    def _status(self) -> int | None:
        return self.window.status

    def _signal(self, name: str, group: str) -> None:
        if name == "INT" and self.channel.send_ready():  # it is not while input waits to be read
            with held():
                self.channel.send(b"\x03")
        else:
            super()._signal(name, group)
