"""`exec`: run a program or a shell line on the host."""

import os
import re
import shlex

from infra.ssh.console import piped_stdin
from infra.ssh.errors import UsageError
from infra.ssh.redact import holds_secret
from infra.ssh.session import Outcome, Session

_ENV_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def execute(session: Session) -> Outcome:
    """Run `exec`: a program with its arguments untouched, or a shell line with `--shell`."""
    options = session.options
    if (options.shell is None) == (not options.argv):
        raise UsageError("exec needs a command: exec -- PROGRAM ARGS…, or exec --shell 'a | b'")
    for text in (*options.argv, *options.env, options.shell or ""):
        if holds_secret(text):
            raise UsageError(
                "an argument looks like a secret, and others can read arguments: put it in an "
                "environment variable and pass its name with --env NAME, or pipe it to stdin"
            )
    lines = [_export(assignment) for assignment in options.env]
    if options.cd is not None:
        lines.append(f"cd -- {shlex.quote(options.cd)} || exit")
    lines.append(shlex.join(options.argv) if options.shell is None else options.shell)
    return session.run("\n".join(lines), stdin=piped_stdin(), raw=options.raw)


def _export(assignment: str) -> str:
    name, assigned, value = assignment.partition("=")
    if not _ENV_NAME.fullmatch(name):
        raise UsageError(f"--env {name}: allowed: NAME=VALUE, or NAME to pass your own NAME on")
    if not assigned and name not in os.environ:
        raise UsageError(f"--env {name}: there is no {name} in your environment")
    return f"export {name}={shlex.quote(value if assigned else os.environ[name])}"
