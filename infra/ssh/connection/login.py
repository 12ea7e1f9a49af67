"""Reach an SSH server: open a socket, look at its host key, log in."""

import contextlib
import socket
from collections.abc import Iterable, Iterator, Sequence

import paramiko
from paramiko.auth_strategy import AuthResult, AuthStrategy, InMemoryPrivateKey

from infra.ssh.connection import hostkeys, keys
from infra.ssh.connection.channel import reason
from infra.ssh.errors import AuthenticationError, ConnectionLostError, SshError, UnreachableError
from infra.ssh.routes import Route
from infra.ssh.targets import Target

CONNECT_TIMEOUT_S = 20.0
"""How long to wait for each step of a login: connection, banner, authentication."""
_KEEPALIVE_S = 15
_DEAD_PEER_TIMEOUT_MS = 30_000
"""How long sent data may stay unacknowledged before the connection counts as lost."""


class Client(paramiko.SSHClient):
    """A connection, with the one it goes through, if any (ProxyJump)."""

    jump: "Client | None" = None

    def close(self) -> None:
        super().close()
        if self.jump is not None:
            self.jump.close()

    def live_transport(self) -> paramiko.Transport:
        """Return the connection; raises EOFError when it has ended."""
        transport = self.get_transport()
        if transport is None or not transport.is_active():
            raise EOFError
        return transport


def fetch_host_key(
    target: Target, route: Route, timeout: float, key_type: str | None = None
) -> paramiko.PKey:
    """Return the key that a server presents, without logging in to it.

    Raises UnreachableError when no SSH server answers, or when it has no key of `key_type`.
    """
    client = Client()
    with (
        contextlib.closing(client),
        _dial(target, route, timeout, client) as sock,
        paramiko.Transport(sock) as transport,
    ):
        if key_type is not None:
            transport.get_security_options().key_types = [key_type]
        try:
            transport.start_client(timeout=timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(f"{route.address} gave no host key: {reason(error)}") from error
        return transport.get_remote_server_key()


def login(target: Target, route: Route, timeout: float, jump: Client | None = None) -> Client:
    """Log in to a server whose host key is on record; `jump` is the one before it on the way."""
    strategy = _Login(route, keys.offers(route))
    client = Client()
    client.jump = jump
    client.get_host_keys().update(hostkeys.known_keys(target, route))
    client.set_missing_host_key_policy(hostkeys.RejectUnknownHost(target, route))
    try:
        client.connect(
            route.name,  # under which the host key is on record
            username=route.user,
            sock=_dial(target, route, timeout, client),
            auth_strategy=strategy,
            timeout=timeout,
            banner_timeout=timeout,
            auth_timeout=timeout,
            channel_timeout=timeout,
        )
    except (SshError, paramiko.SSHException, EOFError, OSError) as error:
        client.close()
        raise _translate(error, target, route) from error
    try:
        client.live_transport().set_keepalive(_KEEPALIVE_S)
    except EOFError:
        raise ConnectionLostError(f"{route} closed the connection") from None
    return client


class _Login(AuthStrategy):
    """Offer some keys, one after the other, and nothing else."""

    def __init__(self, route: Route, offers: Sequence[paramiko.PKey]) -> None:
        self._route = route
        self._offers = offers

    def get_sources(self) -> Iterator[InMemoryPrivateKey]:
        return (InMemoryPrivateKey(self._route.user, key) for key in self._offers)

    def authenticate(self, transport: paramiko.Transport) -> AuthResult:
        for tried, source in enumerate(self.get_sources()):
            if not transport.is_active():
                raise self._too_many(tried)
            if self._accepted(transport, source):
                return AuthResult(self)
        if len(self._offers) > 1 and not transport.is_active():
            raise self._too_many(len(self._offers))
        name = self._route.key or "of the agent"
        raise AuthenticationError(
            f"{self._route} refuses the key {name}: is its public half in authorized_keys there "
            "(a pod reads keys only at boot), and is the user right?"
        )

    def _accepted(self, transport: paramiko.Transport, source: InMemoryPrivateKey) -> bool:
        try:
            more = source.authenticate(transport)
        except paramiko.BadAuthenticationType as error:
            raise self._more_than_keys(error.allowed_types) from error
        except paramiko.AuthenticationException:
            return False
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise
            key = f"{source.pkey.get_name()} {source.pkey.fingerprint}"
            raise AuthenticationError(  # it was not confirmed, or its token is not plugged in
                f"ssh-agent does not sign with {key}: {error}"
            ) from error
        if more:
            raise self._more_than_keys(more)
        return True

    def _more_than_keys(self, wanted: Iterable[str]) -> AuthenticationError:
        return AuthenticationError(
            f"{self._route} wants {' or '.join(wanted)} to log in, and easel-ssh has only keys"
        )

    def _too_many(self, tried: int) -> AuthenticationError:
        return AuthenticationError(
            f"{self._route} ended the login: too many authentication failures ({tried} keys of "
            f'ssh-agent were offered, of {len(self._offers)}). Name the right one as "key"; its '
            ".pub is enough, which `ssh-add -L` prints"
        )


def _dial(
    target: Target, route: Route, timeout: float, client: Client
) -> socket.socket | paramiko.Channel:
    """Open a connection to a server, through its jump hosts; `client` closes those."""
    host, port = route.host, route.port
    if route.pod:
        from infra.ssh import runpod  # noqa: PLC0415 - its HTTP client takes long to import

        if runpod.knows_pods() or not host:
            host, port = runpod.address_of(route.pod, timeout)
    for jump in route.jumps:
        client.jump = login(target, jump, timeout, client.jump)
    if client.jump is None:
        return _connect(route, (host, port), timeout)
    try:
        transport = client.jump.live_transport()
        return transport.open_channel(
            "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"{route.address} cannot be reached through {route.jumps[-1]}: {reason(error)}"
        ) from error


def _connect(route: Route, address: tuple[str, int], timeout: float) -> socket.socket:
    try:
        sock = socket.create_connection(address, timeout)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be one
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreachableError(f"{route.address} ({route.via}): {reason}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_TIMEOUT_MS)
    return sock


def _translate(error: Exception, target: Target, route: Route) -> SshError:
    match error:
        case SshError():
            return error
        case paramiko.BadHostKeyException():
            return hostkeys.changed_key(target, route, error.key)
    return UnreachableError(
        f"{route.address} ({route.via}) does not answer as an SSH server: {reason(error)}"
    )
