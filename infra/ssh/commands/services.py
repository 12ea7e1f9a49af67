"""Commands that the host's own startup.sh carries out: its services and its models."""

import json
import shlex

from infra.ssh.errors import UNHEALTHY, ProtocolError
from infra.ssh.session import Outcome, Session


def control(session: Session) -> Outcome:
    """Run `start`, `stop` or `restart`."""
    return session.run(startup(session, session.options.command, *session.options.services))


def status(session: Session) -> Outcome:
    return _run_or_read(session, "status")


def models(session: Session) -> Outcome:
    """Run `models list|verify|pull|add` for the model files of the host."""
    options = session.options
    command = ["models", options.action, *options.names]
    for name in ("style", "profile", "to", "name", "id"):
        if getattr(options, name) is not None:
            command += [f"--{name}", getattr(options, name)]
    if options.force:
        command.append("--force")
    return _run_or_read(session, *command)


def startup(session: Session, *arguments: str) -> str:
    """Return the bash text that calls startup.sh in the checkout; it exits 3 without one."""
    workdir = session.target.workdir
    message = f"there is no checkout at {workdir}: easel-ssh deploy puts one there"
    return (
        f"cd -- {shlex.quote(workdir)} 2>/dev/null || "
        f"{{ echo {shlex.quote(message)} >&2; exit {UNHEALTHY}; }}\n"
        f"{shlex.join(['./startup.sh', *arguments])}"
    )


def _run_or_read(session: Session, *command: str) -> Outcome:
    """Show what startup.sh prints; with `--json`, make its JSON document a field of the outcome."""
    if not session.console.as_json:
        return session.run(startup(session, *command))
    with session.connect() as remote:
        script = startup(session, *command, "--json")
        code, out, err = remote.read(script, timeout=session.options.timeout)
    try:
        # through a terminal, error output precedes the document
        document = json.loads(out[out.find("{") :])
    except json.JSONDecodeError:
        if code == 0:
            raise ProtocolError(f"the host printed no JSON: {out[:200]!r}") from None
        return Outcome(code, {"via": remote.route.via, "message": (out + err).strip()})
    return Outcome(code, {"via": remote.route.via, session.options.command: document})
