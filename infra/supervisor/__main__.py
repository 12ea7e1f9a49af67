"""Run one command of `./startup.sh`, such as start, stop, status or logs.

Exit: 0 done, 1 failed, 2 usage, 3 a service is not ready, 4 a mode is broken, 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from infra.supervisor import comfyui, lifecycle
from infra.supervisor.commands import backup, checks, demo, doctor, logs, try_mode
from infra.supervisor.host import Host, HostError, read_host
from infra.supervisor.services import service_table
from infra.supervisor.status import as_json, as_table, prober, read_status
from infra.supervisor.supervisord import Supervisord

_ROOT = Path(__file__).resolve().parents[2]
_UNREADY = 3


def main(argv: Sequence[str]) -> int:
    """Run one command and return its exit code; print a fault of this host to stderr."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and not arguments.passes_on:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    arguments.rest = rest
    try:
        host = read_host(_ROOT, os.environ)
        return int(arguments.run(host, arguments))
    except (HostError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _start(host: Host, arguments: argparse.Namespace) -> int:
    rows = lifecycle.start(host, arguments.services)
    print(as_table(rows))
    print(comfyui.engine_sentence(host))
    return 0


def _setup(host: Host, _arguments: argparse.Namespace) -> int:
    lifecycle.check(host)
    print("The packages are installed, and the settings are in order.")
    return 0


def _restart(host: Host, arguments: argparse.Namespace) -> int:
    print(as_table(lifecycle.restart(host, arguments.services)))
    return 0


def _stop(host: Host, arguments: argparse.Namespace) -> int:
    stopped = lifecycle.stop(host, arguments.services)
    print(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")
    return 0


def _status(host: Host, arguments: argparse.Namespace) -> int:
    with prober() as client:
        rows = read_status(host, service_table(host), Supervisord(host).processes(), client)
    answer = as_json(rows, comfyui.engine(host))
    print(json.dumps(answer) if arguments.json else as_table(rows))
    return 0 if answer["ready"] else _UNREADY


def _logs(host: Host, arguments: argparse.Namespace) -> int:
    names = [arguments.service] if arguments.service else []
    services = [s for s in lifecycle.select(service_table(host), names) if s.supervised]
    files = [path for s in services if (path := host.log_file(s.name)).exists()]
    if not files:
        raise HostError(f"There is no log in {host.log_dir} yet.")
    return logs.show(files, arguments.lines, arguments.since, follow=arguments.follow)


def _doctor(host: Host, arguments: argparse.Namespace) -> int:
    return doctor.report(host, as_json=arguments.json)


def _demo(host: Host, _arguments: argparse.Namespace) -> int:
    print(as_table(lifecycle.start(host)), flush=True)
    demo.draw(host)
    return 0


def _test(host: Host, arguments: argparse.Namespace) -> int:
    return checks.run_all(host.root, [part for part in arguments.rest if part != "--"])


def _models(host: Host, arguments: argparse.Namespace) -> NoReturn:
    _become(host, "gpu_server.models", arguments.rest)


def _modes(host: Host, arguments: argparse.Namespace) -> int:
    if arguments.rest[:1] == ["try"]:
        return try_mode.run(host, arguments.rest[1:])
    return _become(host, "gpu_server.modes", arguments.rest)


def _become(host: Host, module: str, arguments: Sequence[str]) -> NoReturn:
    """Run a command of the GPU server's in place of this process."""
    argv = (sys.executable, "-m", module, *arguments)
    os.chdir(host.root)
    os.execve(sys.executable, argv, doctor.environment_of(host))  # noqa: S606


def _install_comfyui(host: Host, _arguments: argparse.Namespace) -> int:
    comfyui.install(host)
    return 0


def _backup(host: Host, arguments: argparse.Namespace) -> int:
    archive = Path(arguments.file).absolute()
    notes = backup.save(host, archive)
    print("\n".join((f"Saved to {archive}, and read back whole.", *notes)))
    return 0


def _restore(host: Host, arguments: argparse.Namespace) -> int:
    archive = Path(arguments.file).absolute()
    backup.restore(host, archive)
    print(f"Restored from {archive}.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="startup.sh", description="Easel on this host.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("start", _start, "start the services and wait until they are ready (the default)"),
        ("stop", _stop, "stop the services"),
        ("restart", _restart, "stop, then start"),
        ("status", _status, "show the services; exit 3 when one is not ready"),
        ("doctor", _doctor, "look for faults of this host and say how to mend them"),
        ("setup", _setup, "install the packages and check the settings; start and stop nothing"),
        ("logs", _logs, "show the end of the services' logs"),
        ("demo", _demo, "start and draw a picture in each mode"),
        ("test", _test, "run every check and the tests; arguments go to pytest"),
        ("backup", _backup, "save databases, images and photos in FILE while all runs"),
        ("restore", _restore, "put a backup in the place of the present data"),
        ("models", _models, "list, verify or pull model files"),
        ("modes", _modes, "list, check and try the modes, or add a workflow as one"),
        ("install-comfyui", _install_comfyui, "install a ComfyUI into COMFYUI_DIR"),
    ):
        command = commands.add_parser(name, help=text, add_help=name not in {"models", "modes"})
        command.set_defaults(run=run, passes_on=name in {"test", "models", "modes"})
        if name in {"start", "stop", "restart"}:
            command.add_argument("services", nargs="*", metavar="SERVICE")
        elif name in {"status", "doctor"}:
            command.add_argument("--json", action="store_true", help="output for programs")
        elif name in {"backup", "restore"}:
            command.add_argument(
                "file", metavar="FILE", help="a .tar, or .tar.gz (smaller, slower)"
            )
        elif name == "logs":
            command.add_argument("service", nargs="?", metavar="SERVICE")
            command.add_argument("-f", "--follow", action="store_true", help="show new lines")
            command.add_argument("-n", "--lines", type=int, default=100, metavar="N", help="(100)")
            since = "instead: as 30s, 10m, 2h or 1d ago, or a time in UTC"
            command.add_argument("--since", type=logs.moment, metavar="TIME", help=since)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
