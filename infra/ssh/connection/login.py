"""Reach an SSH server: open a socket, look at its host key, log in."""

import socket

import paramiko
from paramiko.pkey import UnknownKeyType

from infra.ssh.connection import hostkeys
from infra.ssh.errors import (
    AuthenticationError,
    ConnectionLostError,
    RemoteError,
    UnreachableError,
)
from infra.ssh.targets import Route, Target

CONNECT_TIMEOUT_S = 20.0
"""How long to wait for each step of a login: connection, banner, authentication."""
_KEEPALIVE_S = 15
_DEAD_PEER_TIMEOUT_MS = 30_000
"""How long sent data may stay unacknowledged before the connection counts as lost."""


def loose_permissions(route: Route) -> str | None:
    """Return what is wrong with the key file's permissions, or None."""
    mode = route.key.stat().st_mode & 0o777 if route.key and route.key.exists() else 0
    if not mode & 0o077:
        return None
    return f"private key {route.key} can be read by others (mode {mode:04o}): chmod 600 {route.key}"


def load_key(route: Route) -> paramiko.PKey | None:
    """Load the private key of a route; None means ssh-agent's keys."""
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
        raise AuthenticationError(f"{route.key} is not a usable private key: {error}") from error


def fetch_host_key(route: Route, timeout: float, key_type: str | None = None) -> paramiko.PKey:
    """Return the key that a server presents, without logging in.

    Raises UnreachableError when no SSH server answers, or when it has no key of `key_type`.
    """
    with _dial(route, timeout) as sock, paramiko.Transport(sock) as transport:
        if key_type is not None:
            transport.get_security_options().key_types = [key_type]
        try:
            transport.start_client(timeout=timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                f"{route.host}:{route.port} gave no host key: {error or 'it hung up'}"
            ) from error
        return transport.get_remote_server_key()


def login(target: Target, route: Route, timeout: float) -> paramiko.SSHClient:
    """Log in to a server whose host key is on record."""
    key = load_key(route)
    if key is None and not paramiko.Agent().get_keys():
        raise AuthenticationError(
            f'{route} has no "key" in the configuration, and ssh-agent offers none: name a private '
            "key file, or ssh-add one"
        )
    sock = _dial(route, timeout)
    client = paramiko.SSHClient()
    client.get_host_keys().update(hostkeys.known_keys(target))
    client.set_missing_host_key_policy(hostkeys.RejectUnknownHost(target, route))
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
        raise _translate(error, target, route) from error
    transport = client.get_transport()
    if transport is None:
        raise ConnectionLostError(f"{route} closed the connection")
    transport.set_keepalive(_KEEPALIVE_S)
    return client


def _dial(route: Route, timeout: float) -> socket.socket:
    try:
        sock = socket.create_connection((route.host, route.port), timeout)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreachableError(f"{route.host}:{route.port} ({route.via}): {reason}") from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_PEER_TIMEOUT_MS)
    return sock


def _translate(error: Exception, target: Target, route: Route) -> RemoteError:
    match error:
        case RemoteError():
            return error
        case paramiko.BadHostKeyException():
            return hostkeys.changed_key(target, route, error.key)
        case paramiko.AuthenticationException():
            return AuthenticationError(
                f"{route} refuses the key {route.key or 'of the agent'}: is its public half in "
                "authorized_keys there (a pod reads keys only at boot), and is the user right?"
            )
    return UnreachableError(
        f"{route.host}:{route.port} ({route.via}) does not answer as an SSH server: "
        f"{error or 'it hung up'}"
    )
