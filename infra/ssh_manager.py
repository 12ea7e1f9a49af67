"""easel-ssh: reach the hosts over SSH. `python infra/ssh_manager.py --help` lists the commands."""

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: import from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import importlib
import itertools
import logging
import os
import signal
from typing import NoReturn

from infra.ssh.arguments import HANDLERS, parse
from infra.ssh.connection import interrupts
from infra.ssh.console import Console
from infra.ssh.errors import InterruptError, SshError, UsageError
from infra.ssh.targets import Target, config_path, load_config

_SINGLE_TARGET_COMMANDS = ("shell", "tunnel", "pull")


def main() -> NoReturn:
    """Run one command and exit with its code."""
    _open_missing_streams()
    interrupts.install()
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    # paramiko needs it only for `Match exec` in ssh_config, and importing it takes 50 ms
    sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        code = InterruptError.exit_code
    sys.exit(code)


def _open_missing_streams() -> None:
    """Open /dev/null for closed streams (`>&-`), or the next file would get their descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - stays open


def run(argv: list[str]) -> int:
    """Parse the command line, run the command for its targets and return the exit code."""
    console = Console(as_json="--json" in itertools.takewhile("--".__ne__, argv))
    try:
        options = parse(argv)
        console.as_json = options.json
        config = load_config(config_path(os.environ))
        targets = config.select(options.target)
        _refuse_contradictions(options, targets)
    except SshError as error:
        return _failed(console, error, None)
    if len(targets) > 1:
        from infra.ssh.parallel import run_on_all  # noqa: PLC0415 - rarely needed

        return run_on_all(argv, targets, console)
    for note in config.notes:
        console.say(f"warning: {note}")
    return _run_on(targets[0], options, console)


def _run_on(target: Target, options: argparse.Namespace, console: Console) -> int:
    try:
        module, function = HANDLERS[options.command].split(":")
        session = importlib.import_module("infra.ssh.session").Session(target, options, console)
        outcome = getattr(importlib.import_module(module), function)(session)
    except SshError as error:
        return _failed(console, error, target)
    except KeyboardInterrupt:
        return _failed(console, InterruptError("interrupted"), target)
    except BrokenPipeError:
        raise
    except OSError as error:  # a file on this machine
        return _failed(console, SshError(str(error)), target)
    entry = {"target": target.name, "exit": outcome.exit_code, **outcome.fields}
    if console.as_json:
        console.document({"exit": outcome.exit_code, "targets": [entry]})
    return int(outcome.exit_code)


def _failed(console: Console, error: SshError, target: Target | None) -> int:
    console.say(f"error: {error}")
    if console.as_json:
        fields = {"exit": error.exit_code, "error": {"code": error.code, "message": str(error)}}
        entries = [{"target": target.name, **fields}] if target else []
        outermost = {"exit": error.exit_code} if target else fields
        console.document({**outermost, "targets": entries})
    return error.exit_code


def _refuse_contradictions(options: argparse.Namespace, targets: list[Target]) -> None:
    if options.json and options.command == "shell":
        raise UsageError("shell is interactive and has no --json")
    if options.json and options.command == "logs" and options.follow:
        raise UsageError("logs -f never ends, so it has no --json: leave out -f or --json")
    if len(targets) > 1 and options.command in _SINGLE_TARGET_COMMANDS:
        raise UsageError(f"{options.command} works with one target at a time")


if __name__ == "__main__":
    main()
