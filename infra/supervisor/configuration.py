"""The files that tell supervisord what to run on this host.

`supervisord.conf` has a section for each program, which runs `child` with a JSON spec of what the
program is. Both are readable for their owner only.
"""

import hashlib
import json
import os
import re
import shlex
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.supervisor.host import SHARED_PREFIXES, Host, HostError
from infra.supervisor.services import Service

WATCH = "watch"
"""The program that kills what hangs: the supervisor's own, not one of the host's services."""
_CHILD = Path(__file__).with_name("child.py")
_LONGEST_SOCKET_PATH = 100  # the kernel allows 107; supervisord adds a suffix while it binds
_LOG_BYTES, _LOG_BACKUPS = "10MB", 3
_OWN_LOG_BYTES = "1MB"  # `Supervisord.last_exit` reads it whole


def configuration_file(host: Host) -> Path:
    return host.run_dir / "supervisord.conf"


def socket_file(host: Host) -> Path:
    return local_directory(host) / "supervisor.sock"


def spec_file(host: Host, name: str) -> Path:
    """Return the file that tells `child` what to run for a program."""
    return host.run_dir / f"{name}.json"


def recorded_command(host: Host, name: str) -> list[str]:
    """Return the command in the spec of a program; empty when there is no spec."""
    try:
        return list(json.loads(spec_file(host, name).read_text())["command"])
    except (OSError, ValueError, KeyError):
        return []


def write_configuration(host: Host, services: list[Service]) -> None:
    """Write the configuration and the spec of each service, and of the watch over them."""
    watch = (sys.executable, "-m", "infra.supervisor.watch", str(host.run_dir))
    programs = [Service(WATCH, watch), *services]
    for program in programs:
        _write_private(spec_file(host, program.name), json.dumps(spec_of(host, program), indent=1))
    sections = [*_main_sections(host), *(_program_section(host, program) for program in programs)]
    _write_private(configuration_file(host), "\n".join(sections))


def spec_of(host: Host, service: Service) -> dict[str, Any]:
    """Return what `child` is told of a program."""
    directories = {
        "EASEL_DATA_DIR": str(host.data_dir),
        "EASEL_LOG_DIR": str(host.log_dir),
        "EASEL_RUN_DIR": str(host.run_dir),
        "GPU_MODELS_DIR": str(host.models_dir),
    }
    # Secrets reach it through the supervisor's environment and are never written.
    shared = {k: v for k, v in host.exported.items() if k.startswith(SHARED_PREFIXES)}
    return {
        "command": list(service.command),
        "env": {"PYTHONUNBUFFERED": "1", **shared, **directories, **service.env},
        "cwd": str(host.root),
        "pid_file": str(host.pid_file(service.name)),
        "live": [service.address, service.port, service.live_path] if service.live_path else [],
    }


def _main_sections(host: Host) -> list[str]:
    lines = {
        "logfile": host.log_file("supervisord"),
        "logfile_maxbytes": _OWN_LOG_BYTES,
        "logfile_backups": _LOG_BACKUPS,
        "pidfile": host.pid_file("supervisord"),
        "identifier": "easel",
        "umask": "077",
    }
    if os.geteuid() == 0:
        lines["user"] = "root"  # supervisord warns when it is left out
    interface = "supervisor.rpcinterface:make_main_rpcinterface"
    return [
        _section("unix_http_server", {"file": socket_file(host), "chmod": "0700"}),
        _section("supervisord", lines),
        _section("rpcinterface:supervisor", {"supervisor.rpcinterface_factory": interface}),
    ]


def _program_section(host: Host, service: Service) -> str:
    child = (sys.executable, "-I", "-S", str(_CHILD), str(spec_file(host, service.name)))
    lines = {
        "command": shlex.join(child),
        "autostart": "false",  # the launcher starts them, in their order
        "autorestart": "unexpected",
        "exitcodes": "2",  # a wrong setting: another try cannot help
        "startsecs": service.starts_s,
        "startretries": service.retries,
        "stopwaitsecs": service.stop_s,
        "stopasgroup": "true",
        "killasgroup": "true",
        "redirect_stderr": "true",
        # supervisord expands this value twice
        "stdout_logfile": str(host.log_file(service.name)).replace("%", "%%"),
        "stdout_logfile_maxbytes": _LOG_BYTES,
        "stdout_logfile_backups": _LOG_BACKUPS,
    }
    return _section(f"program:{service.name}", lines)


def _section(name: str, lines: Mapping[str, object]) -> str:
    for value in map(str, lines.values()):
        if re.search(r"\s[;#]|\n", value):  # supervisord takes it for a comment, quoted or not
            raise HostError(f"{value}: a path must not have a space before ; or #. Choose another.")
    body = (f"{key} = {str(value).replace('%', '%%')}" for key, value in lines.items())
    return "\n".join((f"[{name}]", *body, ""))


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


def local_directory(host: Host) -> Path:
    """Return where the socket and the lock are: beside the PID files, or in a private /tmp folder.

    The latter on a pod, whose network volume may refuse both, and when the path is too long.
    """
    length = len(os.fsencode(host.run_dir / "supervisor.sock"))
    if host.pod_dir is None and length <= _LONGEST_SOCKET_PATH:
        return host.run_dir
    digest = hashlib.sha256(os.fsencode(host.run_dir)).hexdigest()[:12]
    private = Path(tempfile.gettempdir()) / f"easel-{os.geteuid()}-{digest}"
    private.mkdir(mode=0o700, exist_ok=True)
    status = private.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise HostError(f"{private} belongs to another user or is open to others; remove it.")
    return private
