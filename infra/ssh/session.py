"""One command of the operator for one target."""

import argparse
from dataclasses import dataclass, field

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
    """What a command works with."""

    target: Target
    options: argparse.Namespace
    console: Console

    def connect(self) -> Remote:
        """Connects as `--via` says.

        Raises:
            RemoteError: with what to do about it.
        """
        return connect(self.target, self.options.via, self.console.say, self.options.timeout)
