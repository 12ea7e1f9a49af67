"""`hosts`: list the targets, or trust a host key."""

from infra.ssh.connection import hostkeys
from infra.ssh.connection.login import fetch_host_key
from infra.ssh.errors import HostKeyError, UnreachableError, UsageError
from infra.ssh.session import Outcome, Session

_KEY_TYPES = (None, "ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512")
"""The keys to compare with a fingerprint, in order; None is the one the server prefers."""


def hosts(session: Session) -> Outcome:
    """Run `hosts list` or `hosts trust --fingerprint SHA256:…`."""
    return _trust(session) if session.options.action == "trust" else _list(session)


def _list(session: Session) -> Outcome:
    target = session.target
    session.console.line(f"{target.name}  {target.workdir}")
    routes: list[dict[str, object]] = []
    for route in target.routes("auto"):
        keys = hostkeys.known_fingerprints(target, route)
        session.console.line(f"  {route}  {' '.join(keys) or 'host key not trusted yet'}")
        named = {"pod"} if route.pod else set()
        server = route.model_dump(include={"host", "port", "user"} | named)
        routes.append({"via": route.via, **server, "fingerprints": keys})
    return Outcome(0, {"workdir": target.workdir, "routes": routes})


def _trust(session: Session) -> Outcome:
    route, *others = session.target.routes(session.options.via)
    if others:
        raise UsageError(
            f'"{session.target.name}" can be reached by two routes, each with its own host key: '
            "add --via direct or --via proxy"
        )
    fingerprint = session.options.fingerprint
    if fingerprint is None:
        key = fetch_host_key(session.target, route, session.connect_timeout)
        raise UsageError(
            f"hosts trust needs --fingerprint. {route.address} presents "
            f"{key.get_name()} {key.fingerprint} just now, which proves nothing by itself: "
            f"{hostkeys.HOW_TO_READ_KEY}, and pass that one"
        )
    if not fingerprint.startswith("SHA256:"):
        raise UsageError(
            f"--fingerprint {fingerprint!r}: allowed: SHA256:… as ssh-keygen -l prints it"
        )
    presented: list[str] = []
    for key_type in _KEY_TYPES:
        try:
            key = fetch_host_key(session.target, route, session.connect_timeout, key_type)
        except UnreachableError:
            if key_type is None:
                raise
            continue
        if key.fingerprint == fingerprint.rstrip("="):
            hostkeys.record(session.target, route, key)
            session.console.line(f"trusted: {route.name} {key.get_name()} {key.fingerprint}")
            return Outcome(0, {"via": route.via, "host": route.name, "trusted": key.fingerprint})
        presented.append(f"{key.get_name()} {key.fingerprint}")
    raise HostKeyError(
        f"{route.address} does not have the key {fingerprint}; it presents "
        f"{', '.join(dict.fromkeys(presented))}. Nothing was recorded; {hostkeys.HOW_TO_READ_KEY}"
    )
