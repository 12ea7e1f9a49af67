"""Host keys: a target's known_hosts file. Nothing is trusted unless the operator says so."""

from dataclasses import dataclass
from typing import NoReturn

import paramiko
from paramiko.hostkeys import InvalidHostKey

from infra.ssh.errors import ConfigError, HostKeyError
from infra.ssh.targets import Route, Target

HOW_TO_READ_KEY = (
    "read it over a path you trust, for instance in the provider's web terminal with "
    "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`"
)


def known_keys(target: Target) -> paramiko.HostKeys:
    """Return the keys on record; none if there is no file yet. Raises ConfigError for bad ones."""
    keys = paramiko.HostKeys()
    if target.known_hosts.exists():
        try:
            keys.load(str(target.known_hosts))
        except InvalidHostKey as error:
            raise ConfigError(
                f"{target.known_hosts.name} is damaged: {error.line.strip()[:60]!r} is not a host "
                "key; remove this line"
            ) from error
    return keys


def known_fingerprints(target: Target, route: Route) -> list[str]:
    """Return `SHA256:…` of each key on record for this server."""
    return [key.fingerprint for key in (known_keys(target).lookup(route.name) or {}).values()]


@dataclass(eq=False)
class RejectUnknownHost(paramiko.MissingHostKeyPolicy):
    """Refuse a host without a key on record, and say how to trust it."""

    target: Target
    route: Route

    def missing_host_key(
        self,
        client: paramiko.SSHClient,  # noqa: ARG002 - paramiko's signature
        hostname: str,  # noqa: ARG002
        key: paramiko.PKey,
    ) -> NoReturn:
        raise HostKeyError(
            f"{self.route.host}:{self.route.port} is not a known host; it presents "
            f"{key.get_name()} {key.fingerprint}. Compare that with the host's own "
            f"({HOW_TO_READ_KEY}), then: {_trust_command(self.target, self.route)}"
        )


def changed_key(target: Target, route: Route, key: paramiko.PKey) -> HostKeyError:
    """Return the refusal of a host whose key differs from the one on record."""
    return HostKeyError(
        f"the host key of {route.host}:{route.port} has CHANGED: it presents {key.get_name()} "
        f"{key.fingerprint}, which is not the key in {target.known_hosts.name}. Either the host "
        "was rebuilt (a pod's keys are new after a reset, and its address may now be someone "
        f"else's) or someone is listening in. If it was rebuilt, {HOW_TO_READ_KEY}, then: "
        f"{_trust_command(target, route)}"
    )


def record(target: Target, route: Route, key: paramiko.PKey) -> None:
    """Put a server's key on record, replacing its older ones."""
    path = target.known_hosts
    old, new = known_keys(target), paramiko.HostKeys()
    for name in old:
        hashed = name.startswith("|1|")
        if name == (paramiko.HostKeys.hash_host(route.name, name) if hashed else route.name):
            continue
        for key_type, other in old[name].items():
            new.add(name, key_type, other)
    new.add(route.name, key.get_name(), key)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    new.save(str(temporary))
    temporary.replace(path)


def _trust_command(target: Target, route: Route) -> str:
    return (
        f"easel-ssh --target {target.name} --via {route.via} hosts trust "
        "--fingerprint SHA256:<the host's own>"
    )
