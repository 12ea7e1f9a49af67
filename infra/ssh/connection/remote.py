"""A connection to a host, and running scripts there."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import paramiko

from infra.ssh.connection.channel import Deadline, reason
from infra.ssh.connection.execution import DirectExecution, GatewayExecution
from infra.ssh.connection.framing import Sink
from infra.ssh.connection.keys import loose_permissions
from infra.ssh.connection.login import login
from infra.ssh.errors import ConnectionLostError, ProtocolError, UnreachableError
from infra.ssh.routes import Route
from infra.ssh.targets import Target

_FALLBACK_TIMEOUT_S = 8.0
"""How long to try a route when there is another one."""


def connect(target: Target, via: str, say: Callable[[str], None], timeout: float) -> "Remote":
    """Connect by the first route that answers.

    Only an unreachable server leads on to the next route: a wrong host key or a refused login
    never does.
    """
    *first, last = target.routes(via)
    for route in first:
        try:
            return _open(target, route, min(timeout, _FALLBACK_TIMEOUT_S), say)
        except UnreachableError as error:
            say(f"{error}; trying the {last.via}")
    return _open(target, last, timeout, say)


def _open(target: Target, route: Route, timeout: float, say: Callable[[str], None]) -> "Remote":
    for path in route.key_files:
        if (warning := loose_permissions(path)) is not None:
            say(f"warning: {warning}")
    return Remote(login(target, route, timeout), route, timeout)


@dataclass(frozen=True)
class Remote:
    """One connection to a host. Its owner closes it."""

    client: paramiko.SSHClient
    route: Route
    begin_timeout: float

    def run(
        self,
        script: str,
        *,
        stdout: Sink,
        stderr: Sink,
        stdin: int | None = None,
        timeout: float | None = None,
        tick: Callable[[], None] = lambda: None,
    ) -> int:
        """Run bash text in the login directory and return its exit status (0-255).

        `stdin` is a descriptor; None means empty input. `tick` is called several times a second.
        Through a gateway, error output is part of the output.

        Raises:
            CommandTimeoutError: The timeout expired; the remote process was ended.
            InterruptError: Ctrl-C or a signal arrived; the remote process was ended.
            ConnectionLostError: The connection broke before the exit status arrived.
            ProtocolError: The script never began.
        """
        kind = DirectExecution if self.route.via == "direct" else GatewayExecution
        with self.open_channel() as channel:
            return kind(
                channel=channel,
                route=self.route,
                script=script,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                begin=Deadline(self.begin_timeout),
                deadline=Deadline(timeout),
                tick=tick,
            ).finish()

    def read(
        self, script: str, *, stdin: int | None = None, timeout: float | None = None
    ) -> tuple[int, str, str]:
        """Run a script and return its status, output and error output."""
        out, err = bytearray(), bytearray()
        status = self.run(
            script, stdin=stdin, stdout=out.extend, stderr=err.extend, timeout=timeout
        )
        return status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    @contextlib.contextmanager
    def open_channel(self) -> Iterator[paramiko.Channel]:
        """Open a session channel for the block; raise ConnectionLostError when it breaks.

        ProtocolError means that the server refuses to open one.
        """
        try:
            with contextlib.closing(self.transport.open_session()) as channel:
                yield channel
        except paramiko.ChannelException as error:
            raise ProtocolError(
                f"{self.route} opens no session: {reason(error)}. Its sshd_config limits them "
                "(MaxSessions), or this user may not run commands"
            ) from error
        except (paramiko.SSHException, EOFError) as error:
            raise self._lost(error) from error
        except OSError as error:
            broken_stdout = isinstance(error, BrokenPipeError)
            if broken_stdout or (error.errno and not isinstance(error, ConnectionError)):
                raise  # it concerns a file or stream of this machine, not a socket
            raise self._lost(error) from error

    @property
    def transport(self) -> paramiko.Transport:
        """The live SSH transport; raises ConnectionLostError when it has ended."""
        transport = self.client.get_transport()
        if transport is None or not transport.is_active():
            raise self._lost("")
        return transport

    def _lost(self, reason: object) -> ConnectionLostError:
        return ConnectionLostError(
            f"the connection to {self.route} was lost: {reason or 'it was closed'}"
        )

    def close(self) -> None:
        transport = self.client.get_transport()
        if transport is not None:
            with contextlib.suppress(OSError):
                # wakes paramiko's reader, which would otherwise notice only at its next poll
                transport.sock.shutdown(socket.SHUT_RDWR)
        self.client.close()
