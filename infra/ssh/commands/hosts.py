"""`hosts`: the targets, and trust in their host keys."""

from infra.ssh.connection import hostkeys
from infra.ssh.connection.remote import CONNECT_SECONDS
from infra.ssh.errors import UsageError
from infra.ssh.session import Outcome, Session
from infra.ssh.targets import Route


def hosts(session: Session) -> Outcome:
    """`hosts list`, or `hosts trust --fingerprint SHA256:…`."""
    if session.options.action == "trust":
        return _trust(session)
    return _list(session)


def _list(session: Session) -> Outcome:
    target = session.target
    session.console.line(f"{target.name}  {target.workdir}")
    routes: list[dict[str, object]] = []
    for route in target.routes("auto"):
        keys = hostkeys.known_fingerprints(target, route)
        session.console.line(f"  {route}  {' '.join(keys) or 'host key not trusted yet'}")
        routes.append(
            {
                "via": route.via,
                "host": route.host,
                "port": route.port,
                "user": route.user,
                "fingerprints": keys,
            }
        )
    return Outcome(0, {"workdir": target.workdir, "routes": routes})


def _trust(session: Session) -> Outcome:
    route = _one_route(session)
    timeout = min(CONNECT_SECONDS, session.options.timeout or CONNECT_SECONDS)
    wanted = session.options.fingerprint
    if wanted is None:
        key = hostkeys.fetch_key(route, timeout)
        raise UsageError(
            f"hosts trust needs --fingerprint. {route.host}:{route.port} presents "
            f"{key.get_name()} {key.fingerprint} just now, which proves nothing by itself: "
            f"{hostkeys.HOW_TO_READ_IT}, and pass that one"
        )
    if not wanted.startswith("SHA256:"):
        raise UsageError(f"--fingerprint {wanted!r}: allowed: SHA256:… as ssh-keygen -l prints it")
    key = hostkeys.trust(session.target, route, wanted, timeout)
    session.console.line(f"trusted: {route.name} {key.get_name()} {key.fingerprint}")
    return Outcome(0, {"via": route.via, "host": route.name, "trusted": key.fingerprint})


def _one_route(session: Session) -> Route:
    routes = session.target.routes(session.options.via)
    if len(routes) > 1:
        raise UsageError(
            f'"{session.target.name}" can be reached in two ways, each with its own host key: '
            "add --via direct or --via proxy"
        )
    return routes[0]
