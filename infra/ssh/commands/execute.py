"""Commands that run one thing on the host: exec, start, stop, restart, status, models."""

import json
import os
import re
import shlex
import stat
import sys

from infra.ssh.errors import UNHEALTHY, ProtocolError, UsageError
from infra.ssh.redact import holds_secret
from infra.ssh.session import Outcome, Session

_ENV_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def execute(session: Session) -> Outcome:
    """`exec`: a program with its arguments as they are, or a shell line with `--shell`."""
    options = session.options
    return _run(session, execute_script(session), stdin=piped_stdin(), raw=options.raw)


def execute_script(session: Session) -> str:
    """The bash text of `exec`.

    Raises:
        UsageError: no command, two commands, or a secret in the arguments.
    """
    options = session.options
    if (options.shell is None) == (not options.argv):
        raise UsageError("exec needs a command: exec -- PROGRAM ARGS…, or exec --shell 'a | b'")
    for text in (*options.argv, *options.env, options.shell or ""):
        if holds_secret(text):
            raise UsageError(
                "an argument looks like a secret, and arguments can be read by others: put it in "
                "an environment variable and pass its name with --env NAME, or pipe it to stdin"
            )
    lines = [_export(assignment) for assignment in options.env]
    if options.cd is not None:
        lines.append(f"cd -- {shlex.quote(options.cd)} || exit")
    lines.append(shlex.join(options.argv) if options.shell is None else options.shell)
    return "\n".join(lines)


def piped_stdin() -> int | None:
    """This process's standard input if something is piped into it."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return None
    # a terminal, or /dev/null
    return None if stat.S_ISCHR(mode) else sys.stdin.fileno()


def start(session: Session) -> Outcome:
    """`start`: the services of the host."""
    return _run(session, startup(session, "start", *session.options.services))


def stop(session: Session) -> Outcome:
    """`stop`: some services, or all."""
    return _run(session, startup(session, "stop", *session.options.services))


def restart(session: Session) -> Outcome:
    """`restart`: some services, or all."""
    return _run(session, startup(session, "restart", *session.options.services))


def status(session: Session) -> Outcome:
    """`status`: exit 3 when a service is not ready."""
    if session.console.as_json:
        return _document(session, startup(session, "status", "--json"))
    return _run(session, startup(session, "status"))


def models(session: Session) -> Outcome:
    """`models list|verify|pull`: the model files of the host."""
    options = session.options
    call = ["models", options.action]
    for name in ("style", "profile"):
        if getattr(options, name) is not None:
            call += [f"--{name}", getattr(options, name)]
    if session.console.as_json:
        return _document(session, startup(session, *call, "--json"))
    return _run(session, startup(session, *call))


def startup(session: Session, *arguments: str) -> str:
    """The bash text that calls the host's startup.sh."""
    return in_workdir(session, shlex.join(["./startup.sh", *arguments]))


def in_workdir(session: Session, script: str) -> str:
    """Bash text run in the checkout on the host; exit 3 if there is none."""
    workdir = shlex.quote(session.target.workdir)
    missing = f"there is no checkout at {session.target.workdir}: easel-ssh deploy puts one there"
    return (
        f"cd -- {workdir} 2>/dev/null || "
        f"{{ echo {shlex.quote(missing)} >&2; exit {UNHEALTHY}; }}\n{script}"
    )


def _run(session: Session, script: str, *, stdin: int | None = None, raw: bool = False) -> Outcome:
    with session.connect() as remote, session.console.output(raw=raw) as output:
        code = remote.run(
            script,
            stdin=stdin,
            stdout=output.stdout,
            stderr=output.stderr,
            timeout=session.options.timeout,
        )
    return Outcome(code, {"via": remote.route.via, **output.fields()})


def _document(session: Session, script: str) -> Outcome:
    """Runs what prints a JSON object and takes over its fields."""
    with session.connect() as remote:
        code, out, err = remote.read(script, timeout=session.options.timeout)
    try:
        # through a terminal, messages come before the document
        document = json.loads(out[out.find("{") :])
    except json.JSONDecodeError:
        if code == 0:
            raise ProtocolError(f"the host printed no JSON: {out[:200]!r}") from None
        return Outcome(code, {"via": remote.route.via, "message": (out + err).strip()})
    return Outcome(code, {"via": remote.route.via, session.options.command: document})


def _export(assignment: str) -> str:
    name, given, value = assignment.partition("=")
    if not _ENV_NAME.fullmatch(name):
        raise UsageError(f"--env {name}: allowed: NAME=VALUE, or NAME to pass your own NAME on")
    if not given and name not in os.environ:
        raise UsageError(f"--env {name}: there is no {name} in your environment")
    return f"export {name}={shlex.quote(value if given else os.environ[name])}"
