"""A connection to a host, and running things there: directly or through a gateway."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import paramiko
from paramiko.pkey import UnknownKeyType

from infra.ssh.connection import hostkeys
from infra.ssh.connection.channel import Deadline
from infra.ssh.connection.execution import DirectExecution, GatewayExecution
from infra.ssh.connection.framing import Sink
from infra.ssh.errors import (
    AuthenticationError,
    ConnectionLostError,
    RemoteError,
    UnreachableError,
)
from infra.ssh.targets import Route, Target

CONNECT_SECONDS = 20.0
_FALLBACK_SECONDS = 8.0  # before the proxy is tried instead
_DEAD_PEER_MS = 30_000


def connect(
    target: Target, via: str, say: Callable[[str], None], timeout: float | None = None
) -> "Remote":
    """Connects the first way that answers.

    Only a server that cannot be reached leads on to the next way: a wrong host key or a
    refused login never does.

    Raises:
        RemoteError: with what to do about it.
        UsageError: the target has no such way.
    """
    limit = min(CONNECT_SECONDS, timeout or CONNECT_SECONDS)
    *first, last = target.routes(via)
    for route in first:
        try:
            return _open(target, route, min(limit, _FALLBACK_SECONDS), say)
        except UnreachableError as error:
            say(f"{error}; trying the {last.via}")
    return _open(target, last, limit, say)


def _open(target: Target, route: Route, timeout: float, say: Callable[[str], None]) -> "Remote":
    if (loose := loose_permissions(route)) is not None:
        say(f"warning: {loose}")
    client = login(target, route, timeout)
    return Remote(client, route, timeout)


def loose_permissions(route: Route) -> str | None:
    """What is wrong with the key file's permissions, if anything."""
    if route.key is None or not route.key.exists():
        return None
    mode = route.key.stat().st_mode & 0o777
    if not mode & 0o077:
        return None
    return f"private key {route.key} can be read by others (mode {mode:04o}): chmod 600 {route.key}"


def login(target: Target, route: Route, timeout: float) -> paramiko.SSHClient:
    """An authenticated connection to a server whose host key is on record."""
    key = load_key(route)
    if key is None and not paramiko.Agent().get_keys():
        raise AuthenticationError(
            f'{route} has no "key" in the configuration, and ssh-agent offers none: name a private '
            "key file, or ssh-add one"
        )
    sock = _dial(route, timeout)
    client = paramiko.SSHClient()
    client.get_host_keys().update(hostkeys.known_keys(target))
    client.set_missing_host_key_policy(hostkeys.RejectUnknown(target, route))
    try:
        client.connect(
            route.host,
            route.port,
            route.user,
            pkey=key,
            sock=sock,
            allow_agent=key is None,
            look_for_keys=False,
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            channel_timeout=timeout,
        )
    except (RemoteError, paramiko.SSHException, EOFError, OSError) as error:
        client.close()
        raise _translated(error, target, route) from error
    transport = client.get_transport()
    if transport is None:
        raise ConnectionLostError(f"{route} closed the connection")
    transport.set_keepalive(15)
    return client


def _dial(route: Route, timeout: float) -> socket.socket:
    try:
        sock = socket.create_connection((route.host, route.port), timeout)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreachableError(f"{route.host}:{route.port} ({route.via}): {reason}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS)
    return sock


def load_key(route: Route) -> paramiko.PKey | None:
    """The private key of a route; None means the agent's.

    Raises:
        AuthenticationError: it is missing, locked by a passphrase or no key.
    """
    if route.key is None:
        return None
    try:
        return paramiko.PKey.from_path(route.key)
    except FileNotFoundError:
        raise AuthenticationError(f"there is no private key {route.key}") from None
    except TypeError:
        raise AuthenticationError(
            f'{route.key} has a passphrase: add it to ssh-agent and leave out "key", which uses '
            "the agent's keys"
        ) from None
    except (OSError, ValueError, paramiko.SSHException, UnknownKeyType) as error:
        raise AuthenticationError(f"{route.key} is no usable private key: {error}") from error


def _translated(error: Exception, target: Target, route: Route) -> RemoteError:
    match error:
        case RemoteError():
            return error
        case paramiko.BadHostKeyException():
            return hostkeys.changed(target, route, error.key)
        case paramiko.AuthenticationException():
            return AuthenticationError(
                f"{route} refuses the key {route.key or 'of the agent'}: is its public half in "
                "authorized_keys there (a pod takes keys at its start only), and is the user right?"
            )
    return UnreachableError(
        f"{route.host}:{route.port} ({route.via}) does not answer as an SSH server: "
        f"{error or 'it hung up'}"
    )


def _is_local(error: OSError) -> bool:
    """Whether it is about a file or stream of this machine, not about a socket."""
    broken_stdout = isinstance(error, BrokenPipeError)
    return broken_stdout or (error.errno is not None and not isinstance(error, ConnectionError))


class Remote:
    """One connection to a host."""

    def __init__(self, client: paramiko.SSHClient, route: Route, begin_timeout: float) -> None:
        self.client = client
        self.route = route
        self._begin_timeout = begin_timeout

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
        """Runs bash text in the login directory and returns its exit status (0-255).

        Args:
            stdin: a descriptor; None is empty.
            timeout: seconds.
            tick: called several times a second.

        Raises:
            TimeLimitError, InterruptError: the remote process was ended.
            ConnectionLostError: how the command ended is unknown.
            ProtocolError: the script never began.
        """
        kind = DirectExecution if self.route.via == "direct" else GatewayExecution
        with self.open_channel() as channel:
            return kind(
                channel,
                self.route,
                script,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                begin=Deadline(self._begin_timeout),
                deadline=Deadline(timeout),
                tick=tick,
            ).finish()

    def read(self, script: str, *, timeout: float | None = None) -> tuple[int, str, str]:
        """Runs a script and returns its status, output and error output."""
        out, err = bytearray(), bytearray()
        status = self.run(script, stdout=out.extend, stderr=err.extend, timeout=timeout)
        return status, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    @contextlib.contextmanager
    def open_channel(self) -> Iterator[paramiko.Channel]:
        """A session channel.

        Raises:
            ConnectionLostError: it broke, or was refused.
        """
        try:
            with contextlib.closing(self.transport.open_session()) as channel:
                yield channel
        except (paramiko.SSHException, EOFError) as error:
            raise self.lost(error) from error
        except OSError as error:
            if _is_local(error):
                raise
            raise self.lost(error) from error

    @property
    def transport(self) -> paramiko.Transport:
        """The live SSH transport.

        Raises:
            ConnectionLostError: it has ended.
        """
        transport = self.client.get_transport()
        if transport is None or not transport.is_active():
            raise self.lost("")
        return transport

    def lost(self, reason: object) -> ConnectionLostError:
        """The error for a connection that broke."""
        return ConnectionLostError(
            f"the connection to {self.route} was lost: {reason or 'it was closed'}"
        )

    def close(self) -> None:
        transport = self.client.get_transport()
        if transport is not None:
            with contextlib.suppress(OSError):
                # wakes paramiko's reader, which would notice the end only at its next poll
                transport.sock.shutdown(socket.SHUT_RDWR)
        self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
