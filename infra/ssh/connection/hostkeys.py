"""Host keys: a target's known_hosts file. Nothing is trusted unless the operator says so."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import paramiko
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey

from infra.ssh.errors import ConfigError, HostKeyError
from infra.ssh.files import read_text
from infra.ssh.routes import Route
from infra.ssh.targets import Target

HOW_TO_READ_KEY = (
    "read it over a path you trust, for instance in the provider's web terminal with "
    "`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`"
)


def known_hosts(target: Target, route: Route) -> list[Path]:
    """Return the files to look in, first the one to write to.

    UserKnownHostsFile of `~/.ssh/config` counts if the target names no file of its own.
    """
    if "known_hosts" in target.model_fields_set or not route.entry.known_hosts:
        return [target.known_hosts]
    return list(route.entry.known_hosts)


def known_keys(target: Target, route: Route) -> paramiko.HostKeys:
    """Return the keys on record; none if there is no file yet. Raises ConfigError for bad ones."""
    keys = paramiko.HostKeys()
    for path in known_hosts(target, route):
        try:
            lines = read_text(path).splitlines()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path.name} cannot be used: {error}") from error
        for entry in _entries(lines, path):
            for name in entry.hostnames:
                keys.add(name, entry.key.get_name(), entry.key)
    return keys


def _entries(lines: Iterable[str], path: Path) -> Iterator[HostKeyEntry]:
    for line in map(str.strip, lines):
        if not line or line.startswith(("#", "@")):  # a comment, a certificate authority
            continue
        try:
            entry = HostKeyEntry.from_line(line)
        except InvalidHostKey as error:
            raise ConfigError(
                f"{path.name} is damaged: {line[:60]!r} is not a host key; remove this line"
            ) from error
        if entry is not None:
            yield entry


def known_fingerprints(target: Target, route: Route) -> list[str]:
    """Return `SHA256:…` of each key on record for this server."""
    known = known_keys(target, route).lookup(route.name)
    return [key.fingerprint for key in (known or {}).values()]


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
            f"{self.route.address} is not a known host; it presents "
            f"{key.get_name()} {key.fingerprint}. Compare that with the host's own "
            f"({HOW_TO_READ_KEY}), then: {_trust_command(self.target, self.route)}"
        )


def changed_key(target: Target, route: Route, key: paramiko.PKey) -> HostKeyError:
    """Return the refusal of a host whose key differs from the one on record."""
    return HostKeyError(
        f"the host key of {route.address} has CHANGED: it presents {key.get_name()} "
        f"{key.fingerprint}, which is not the key in {known_hosts(target, route)[0].name}. Either "
        "the host was rebuilt (a pod's keys are new after a reset, and its address may now be "
        "someone else's) or someone is listening in. If it was rebuilt, {HOW_TO_READ_KEY}, then: "
        f"{_trust_command(target, route)}"
    )


def record(target: Target, route: Route, key: paramiko.PKey) -> None:
    """Put a server's key on record, replacing its older ones; other lines stay as they are."""
    path = known_hosts(target, route)[0]
    old = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    lines = [kept for line in old.splitlines() if (kept := _without(line, route.name)) is not None]
    lines.append(f"{route.name} {key.get_name()} {key.get_base64()}")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    temporary.write_text("\n".join(lines) + "\n", "utf-8", "surrogateescape")
    temporary.replace(path.resolve())


def _without(line: str, name: str) -> str | None:
    """Return the line without this server's name, or None if it names no other."""
    names, space, rest = line.partition(" ")
    if line.startswith(("#", "@")) or not space:
        return line
    others = [other for other in names.split(",") if not _means(other, name)]
    return f"{','.join(others)}{space}{rest}" if others else None


def _means(entry: str, name: str) -> bool:
    hashed = entry.startswith("|1|")
    return entry == (paramiko.HostKeys.hash_host(name, entry) if hashed else name)


def _trust_command(target: Target, route: Route) -> str:
    return (
        f"easel-ssh --target {target.name} --via {route.via} hosts trust "
        "--fingerprint SHA256:<the host's own>"
    )
