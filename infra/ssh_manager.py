"""easel-ssh: the operator's way to the hosts. `python infra/ssh_manager.py --help`."""

import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: modules are found from the repository's root
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import importlib
import logging
import os
import signal
from typing import NoReturn

from infra.ssh.arguments import HANDLERS, parse
from infra.ssh.connection import interrupts
from infra.ssh.console import Console
from infra.ssh.errors import InterruptError, SshError, UsageError
from infra.ssh.targets import Target, config_path, load_config

_FOR_ONE_TARGET = ("shell", "tunnel", "pull")


def main() -> NoReturn:
    """Runs one command and exits with its code."""
    _open_missing_streams()
    interrupts.install()
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    # paramiko wants it for `Match exec` in ssh_config only, and it takes 50 ms to import
    sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        code = InterruptError.exit_code
    sys.exit(code)


def _open_missing_streams() -> None:
    """Closed ones (`>&-`) would be None, and their number go to the next file or connection."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 - for good


def run(argv: list[str]) -> int:
    """Parses the command line, runs the command for its targets, returns the exit code."""
    console = Console(as_json="--json" in argv[: _literal(argv)])
    try:
        options = parse(argv)
        console.as_json = options.json
        targets = load_config(config_path(os.environ)).select(options.target)
        _refuse_contradictions(options, targets)
    except SshError as error:
        return _failed(console, error, None)
    if len(targets) > 1:
        from infra.ssh.parallel import run_on_all  # noqa: PLC0415 - only where it is needed

        return run_on_all(argv, targets, console)
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
    except OSError as error:  # a file of this machine
        return _failed(console, SshError(str(error)), target)
    entry = {"target": target.name, "exit": outcome.exit_code, **outcome.fields}
    if console.as_json:
        console.document({"exit": outcome.exit_code, "targets": [entry]})
    return int(outcome.exit_code)


def _failed(console: Console, error: SshError, target: Target | None) -> int:
    console.say(f"error: {error}")
    if console.as_json:
        fault = {"code": error.code, "message": str(error)}
        if target is None:
            console.document({"exit": error.exit_code, "targets": [], "error": fault})
        else:
            entry = {"target": target.name, "exit": error.exit_code, "error": fault}
            console.document({"exit": error.exit_code, "targets": [entry]})
    return error.exit_code


def _refuse_contradictions(options: argparse.Namespace, targets: list[Target]) -> None:
    if options.json and options.command == "shell":
        raise UsageError("shell is interactive and has no --json")
    if options.json and options.command == "logs" and options.follow:
        raise UsageError("logs -f does not end, so it has no --json: leave out -f or --json")
    if len(targets) > 1 and options.command in _FOR_ONE_TARGET:
        raise UsageError(f"{options.command} works with one target at a time")


def _literal(argv: list[str]) -> int:
    return argv.index("--") if "--" in argv else len(argv)


if __name__ == "__main__":
    main()
