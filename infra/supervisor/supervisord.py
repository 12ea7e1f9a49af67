"""supervisord on this host: its configuration, its start and end, and calls to it.

Facts (supervisor 4.3): ended programs are started again at once, those that ended within
`startsecs` after 1, 2, 3 … seconds, and after `startretries` of them the state is FATAL. It keeps
no PID file per program and leaves its programs orphaned when it is killed; `child` mends both.
"""

import hashlib
import http.client
import json
import os
import re
import shlex
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xmlrpc import client as xmlrpc

from infra.supervisor import processes
from infra.supervisor.errors import HostError
from infra.supervisor.host import SHARED_PREFIXES, Host
from infra.supervisor.services import Service

WATCH = "watch"
"""The program that ends what hangs: of the supervisor's own, not one of the host's services."""
CHILD = Path(__file__).with_name("child.py")
LONGEST_SOCKET_PATH = 100  # the kernel allows 107; supervisord adds a suffix while it binds
LOG_BYTES, LOG_BACKUPS = "10MB", 3
OWN_LOG_BYTES = "1MB"  # read whole now and then
HARMLESS = {60, 70}  # supervisor.xmlrpc.Faults: already started, not running


class Unreachable(HostError):
    """supervisord does not run, or does not answer."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.Transport):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__()
        self._path, self._timeout_s = str(path), timeout_s

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path, self._timeout_s)
        self._connection = host, connection  # where the base class closes it
        return connection


class Supervisord:
    """The supervisord of one host, whether it runs or not."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._socket = local_directory(host) / "supervisor.sock"
        self._pid_file = host.run_dir / "supervisord.pid"
        self._log = host.log_dir / "supervisord.log"
        self._configuration = host.run_dir / "supervisord.conf"

    def call(self, method: str, *arguments: Any, timeout_s: float = 5.0) -> Any:
        """Call `supervisor.<method>`; None for an outcome in `HARMLESS`.

        Raises `Unreachable` when it does not answer in time, `HostError` when it refuses.
        """
        transport = _UnixTransport(self._socket, timeout_s)
        try:
            with xmlrpc.ServerProxy("http://localhost", transport=transport) as server:
                return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.Fault as error:
            if error.faultCode in HARMLESS:
                return None
            raise HostError(f"The supervisor refuses {method}: {error.faultString}") from error
        except (OSError, http.client.HTTPException, xmlrpc.ProtocolError) as error:
            raise Unreachable(f"The supervisor does not answer; see {self._log}.") from error

    def processes(self) -> dict[str, dict[str, Any]]:
        """What it says of each service (state, pid, start, spawnerr …); empty when it is down."""
        try:
            found = {info["name"]: info for info in self.call("getAllProcessInfo")}
        except Unreachable:
            return {}
        return {name: info for name, info in found.items() if name != WATCH}

    def runs(self) -> bool:
        """Whether it answers."""
        try:
            self.call("getState")
        except Unreachable:
            return False
        return True

    def configure(self, services: list[Service]) -> None:
        """Write its configuration and, for each service, what `child` is to run."""
        watch = (sys.executable, "-m", "infra.supervisor.watch", str(self._host.run_dir))
        services = [Service(WATCH, watch), *services]
        for service in services:
            _write_private(self.spec_file(service.name), json.dumps(self._spec(service), indent=1))
        sections = [self._main_section(), *(self._section(service) for service in services)]
        _write_private(self._configuration, "\n".join(sections))

    def last_exit(self, name: str) -> str:
        """How a program last ended, as in "exit status 2"; empty when it never did.

        From its log, as its calls do not tell the status of one that ended too quickly.
        """
        try:
            text = self._log.read_text(errors="replace")
        except OSError:
            return ""
        found = re.findall(rf" exited: {re.escape(name)} \(([^;)]*)", text)
        return found[-1] if found else ""

    def launch(self) -> None:
        """Start it; returns when it answers. What an earlier one left behind is ended first."""
        self.sweep()
        argv = (sys.executable, "-m", "infra.supervisor.daemon", "-c", str(self._configuration))
        done = subprocess.run(  # noqa: S603
            argv,
            cwd=self._host.root,
            env=os.environ | self._host.exported,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise HostError(
                f"The supervisor does not start: {(done.stderr or done.stdout).strip()}"
            )
        deadline = time.monotonic() + 10
        while not self.runs():
            if time.monotonic() > deadline:
                raise Unreachable(f"The supervisor does not answer; see {self._log}.")
            time.sleep(processes.POLL_S)
        self.start(WATCH)

    def update(self) -> None:
        """Make a running one follow a changed configuration: new services, gone services."""
        added, changed, removed = self.call("reloadConfig")[0]
        for group in (*removed, *changed):
            self.call("stopProcessGroup", group, timeout_s=60.0)
            self.call("removeProcessGroup", group)
        for group in (*changed, *added):
            self.call("addProcessGroup", group)
        self.start(WATCH)

    def start(self, name: str) -> None:
        """Start one program without waiting for it; one that runs stays as it is."""
        self.call("startProcess", name, False)

    def stop(self, name: str) -> None:
        """Ask one program to stop, without waiting for it."""
        self.call("stopProcess", name, False)

    def shut_down(self) -> None:
        """End it with all its programs; nothing of it is left when this returns."""
        if self.runs():
            pid = self.call("getPID")
            # All at once: "shutdown" alone ends them one by one, a second each.
            self.call("stopAllProcesses", False)
            self.call("shutdown")
            processes.wait_gone([pid], 30.0)
        self.sweep()

    def sweep(self) -> None:
        """End what a killed supervisor or a frozen one left behind, and remove its files."""
        pid = processes.read_pid(self._pid_file)
        if pid is not None and str(self._configuration) in processes.command_of(pid):
            processes.end(pid, 1.0)
        for pid_file in self._host.run_dir.glob("*.pid"):
            if pid_file != self._pid_file and not self.spec_file(pid_file.stem).exists():
                continue  # somebody else's
            pid, command = processes.read_pid(pid_file), self._recorded_command(pid_file.stem)
            if pid is not None and command and processes.command_of(pid) == command:
                processes.end(pid, 5.0)
            pid_file.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)

    def spec_file(self, name: str) -> Path:
        """The file that tells `child` what to run for a service."""
        return self._host.run_dir / f"{name}.json"

    def _recorded_command(self, name: str) -> list[str]:
        try:
            command: list[str] = json.loads(self.spec_file(name).read_text())["command"]
        except (OSError, ValueError, KeyError):
            return []
        return command

    def _spec(self, service: Service) -> dict[str, Any]:
        host = self._host
        directories = {
            "EASEL_DATA_DIR": str(host.data_dir),
            "EASEL_LOG_DIR": str(host.log_dir),
            "EASEL_RUN_DIR": str(host.run_dir),
            "GPU_MODELS_DIR": str(host.models_dir),
        }
        # Secrets reach it through the supervisor's environment and are written nowhere.
        shared = {k: v for k, v in host.exported.items() if k.startswith(SHARED_PREFIXES)}
        return {
            "command": list(service.command),
            "env": {"PYTHONUNBUFFERED": "1", **shared, **directories, **service.env},
            "cwd": str(host.root),
            "pid_file": str(host.run_dir / f"{service.name}.pid"),
            "live": [service.address, service.port, service.live_path] if service.live_path else [],
        }

    def _main_section(self) -> str:
        lines = {
            "logfile": self._log,
            "logfile_maxbytes": OWN_LOG_BYTES,
            "logfile_backups": LOG_BACKUPS,
            "pidfile": self._pid_file,
            "identifier": "easel",
            "umask": "077",
        }
        if os.geteuid() == 0:
            lines["user"] = "root"  # said aloud, or supervisord warns of it
        interface = "supervisor.rpcinterface:make_main_rpcinterface"
        return "\n".join(
            [
                _section("unix_http_server", {"file": self._socket, "chmod": "0700"}),
                _section("supervisord", lines),
                _section("rpcinterface:supervisor", {"supervisor.rpcinterface_factory": interface}),
            ]
        )

    def _section(self, service: Service) -> str:
        child = (sys.executable, "-I", "-S", str(CHILD), str(self.spec_file(service.name)))
        lines = {
            "command": shlex.join(child),
            "autostart": "false",  # the launcher starts them, in their order
            "autorestart": "true",
            "startsecs": service.starts_s,
            "startretries": service.retries,
            "stopwaitsecs": service.stop_s,
            "stopasgroup": "true",
            "killasgroup": "true",
            "redirect_stderr": "true",
            # supervisord expands this one twice
            "stdout_logfile": str(self._host.log_dir / f"{service.name}.log").replace("%", "%%"),
            "stdout_logfile_maxbytes": LOG_BYTES,
            "stdout_logfile_backups": LOG_BACKUPS,
        }
        return _section(f"program:{service.name}", lines)


def _section(name: str, lines: dict[str, Any]) -> str:
    for value in map(str, lines.values()):
        if re.search(r"\s[;#]|\n", value):  # a comment to supervisord, and not to be quoted
            raise HostError(f"{value}: a path must not have a space before ; or #. Choose another.")
    body = (f"{key} = {str(value).replace('%', '%%')}" for key, value in lines.items())
    return "\n".join((f"[{name}]", *body, ""))


def _write_private(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    fresh.replace(path)


def local_directory(host: Host) -> Path:
    """Where the socket and the lock are: beside the PID files, or private in /tmp.

    The latter on a pod, whose network volume may refuse both, and when the path is too long.
    """
    longest = len(os.fsencode(host.run_dir / "supervisor.sock"))
    if host.pod_dir is None and longest <= LONGEST_SOCKET_PATH:
        return host.run_dir
    digest = hashlib.sha256(os.fsencode(host.run_dir)).hexdigest()[:12]
    private = Path(tempfile.gettempdir()) / f"easel-{os.geteuid()}-{digest}"
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise HostError(f"{private} belongs to somebody else or is open to others; remove it.")
    return private
