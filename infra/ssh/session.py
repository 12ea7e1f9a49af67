"""One operator command for one target: what a command works with, and its outcome."""

import argparse
import contextlib
from dataclasses import dataclass, field

from infra.ssh.connection.login import CONNECT_TIMEOUT_S
from infra.ssh.connection.remote import Remote, connect
from infra.ssh.console import Console
from infra.ssh.targets import Target


@dataclass(frozen=True)
class Outcome:
    """The exit code, and what the JSON document says about this target."""

    exit_code: int = 0
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """The target, the options and the console of one command."""

    target: Target
    options: argparse.Namespace
    console: Console

    @property
    def connect_timeout(self) -> float:
        return min(CONNECT_TIMEOUT_S, self.options.timeout or CONNECT_TIMEOUT_S)

    def connect(self) -> contextlib.closing[Remote]:
        """Connect as `--via` says; leaving the block closes the connection."""
        remote = connect(self.target, self.options.via, self.console.say, self.connect_timeout)
        return contextlib.closing(remote)

    def run(
        self, script: str, *, stdin: int | None = None, raw: bool = False, **fields: object
    ) -> Outcome:
        """Connect, run a script and show its output; `fields` are added to the outcome."""
        with self.connect() as remote, self.console.output(raw=raw) as output:
            code = remote.run(
                script,
                stdin=stdin,
                stdout=output.stdout,
                stderr=output.stderr,
                timeout=self.options.timeout,
            )
        return Outcome(code, {"via": remote.route.via, **fields, **output.fields()})
