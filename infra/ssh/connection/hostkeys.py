"""Host keys: the known_hosts file of a target, and trust given by hand, never by default."""

import socket
from typing import NoReturn

import paramiko
from paramiko.hostkeys import InvalidHostKey

from infra.ssh.errors import ConfigError, HostKeyError, UnreachableError
from infra.ssh.targets import Route, Target

_KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
HOW_TO_READ_IT = (
    "read it where you trust the path, for instance in the provider's web terminal with "
    "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`"
)


def known_keys(target: Target) -> paramiko.HostKeys:
    """The keys on record; none when there is no file yet.

    Raises:
        ConfigError: the file is damaged.
    """
    keys = paramiko.HostKeys()
    if target.known_hosts.exists():
        try:
            keys.load(str(target.known_hosts))
        except InvalidHostKey as error:
            raise ConfigError(
                f"{target.known_hosts.name} is damaged: {error.line.strip()[:60]!r} is no host "
                "key; remove this line"
            ) from error
    return keys


def known_fingerprints(target: Target, route: Route) -> list[str]:
    """`SHA256:…` of each key on record for this server."""
    return [key.fingerprint for key in (known_keys(target).lookup(route.name) or {}).values()]


class RejectUnknown(paramiko.RejectPolicy):
    """Refuses a host without a key on record, and says how to give it one."""

    def __init__(self, target: Target, route: Route) -> None:
        self._target = target
        self._route = route

    def missing_host_key(
        self,
        client: paramiko.SSHClient,  # noqa: ARG002 - paramiko's signature
        hostname: str,  # noqa: ARG002
        key: paramiko.PKey,
    ) -> NoReturn:
        raise HostKeyError(
            f"{self._route.host}:{self._route.port} is not a known host; it presents "
            f"{key.get_name()} {key.fingerprint}. Compare that with the host's own "
            f"({HOW_TO_READ_IT}), then: {_trust_command(self._target, self._route)}"
        )


def changed(target: Target, route: Route, key: paramiko.PKey) -> HostKeyError:
    """The refusal of a host whose key is not the one on record."""
    return HostKeyError(
        f"the host key of {route.host}:{route.port} has CHANGED: it presents {key.get_name()} "
        f"{key.fingerprint}, which is not the key in {target.known_hosts.name}. Either the host "
        "was rebuilt (a pod's keys are new after a reset, and its address may now be someone "
        f"else's) or someone is listening in. If it was rebuilt, {HOW_TO_READ_IT}, then: "
        f"{_trust_command(target, route)}"
    )


def fetch_key(route: Route, timeout: float, key_type: str | None = None) -> paramiko.PKey:
    """The key a server presents, of one type if given; nothing is authenticated or sent.

    Raises:
        UnreachableError: no SSH server answers, or it has no key of this type.
    """
    try:
        sock = socket.create_connection((route.host, route.port), timeout)
    except OSError as error:
        raise UnreachableError(f"{route.host}:{route.port} cannot be reached: {error}") from error
    with sock, paramiko.Transport(sock) as transport:
        if key_type is not None:
            transport.get_security_options().key_types = [key_type]
        try:
            transport.start_client(timeout=timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                f"{route.host}:{route.port} gave no host key: {error or 'it hung up'}"
            ) from error
        return transport.get_remote_server_key()


def trust(target: Target, route: Route, fingerprint: str, timeout: float) -> paramiko.PKey:
    """Records the server's key if it has this fingerprint (`SHA256:…`), replacing older ones.

    Raises:
        HostKeyError: none of its keys has; nothing is recorded.
        UnreachableError: no SSH server answers.
    """
    seen: list[str] = []
    for key_type in (None, *_KEY_TYPES):
        try:
            key = fetch_key(route, timeout, key_type)
        except UnreachableError:
            if key_type is None:
                raise
            continue
        if key.fingerprint == fingerprint.rstrip("="):
            _record(target, route, key)
            return key
        seen.append(f"{key.get_name()} {key.fingerprint}")
    raise HostKeyError(
        f"{route.host}:{route.port} does not have the key {fingerprint}; it presents "
        f"{', '.join(dict.fromkeys(seen))}. Nothing was recorded; {HOW_TO_READ_IT}"
    )


def _record(target: Target, route: Route, key: paramiko.PKey) -> None:
    path = target.known_hosts
    old, new = known_keys(target), paramiko.HostKeys()
    for name in old:
        for key_type, other in old[name].items():
            if not _is_name_of(name, route):
                new.add(name, key_type, other)
    new.add(route.name, key.get_name(), key)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.new")
    new.save(str(unfinished))
    unfinished.replace(path)


def _is_name_of(name: str, route: Route) -> bool:
    hashed = name.startswith("|1|")
    return name == (paramiko.HostKeys.hash_host(route.name, name) if hashed else route.name)


def _trust_command(target: Target, route: Route) -> str:
    return (
        f"easel-ssh --target {target.name} --via {route.via} hosts trust "
        "--fingerprint SHA256:<the host's own>"
    )
