"""supervisord on this host: its start and end, and calls to it.

Facts (supervisor 4.3): ended programs are started again within two seconds, those that ended
within `startsecs` after 1, 2, 3 … seconds more, and after `startretries` of them the state is
FATAL. It keeps no PID file per program and leaves its programs orphaned when it is killed; `child`
mends both.
"""

import http.client
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xmlrpc import client as xmlrpc

from supervisor.xmlrpc import Faults, SupervisorTransport, UnixStreamHTTPConnection

from infra.supervisor import configuration, processes
from infra.supervisor.host import Host, HostError

_HARMLESS = {Faults.ALREADY_STARTED, Faults.NOT_RUNNING}
_CALL_TIMEOUT_S = 5.0
_STOP_TIMEOUT_S = 60.0  # longer than the `stop_s` of any service
_LAUNCH_TIMEOUT_S = 10.0
_SHUTDOWN_TIMEOUT_S = 30.0
_OWN_GRACE_S, _PROGRAM_GRACE_S = 1.0, 5.0
"""How long a supervisor, or a program, that was left behind may take to end before it is killed."""


class Unreachable(HostError):
    """supervisord does not run, or does not answer."""


class _Connection(UnixStreamHTTPConnection):  # type: ignore[misc] # supervisor has no types
    """supervisor's connection, with the timeout that its own `connect` leaves out."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(self.timeout)


class _Transport(SupervisorTransport):  # type: ignore[misc]
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__(serverurl=f"unix://{path}")
        self._path, self._timeout_s = str(path), timeout_s
        self._get_connection = self._connect  # the base class sets its own in the constructor

    def _connect(self) -> _Connection:
        connection = _Connection("localhost", timeout=self._timeout_s)
        connection.socketfile = self._path
        return connection


class Supervisord:
    """The supervisord of one host, whether it runs or not."""

    def __init__(self, host: Host) -> None:
        self._host, self._socket = host, configuration.socket_file(host)
        self._pid_file, self._log = host.pid_file("supervisord"), host.log_file("supervisord")

    def call(self, method: str, *arguments: Any, timeout_s: float = _CALL_TIMEOUT_S) -> Any:
        """Call `supervisor.<method>`; return None when there was nothing to start or stop.

        Raises Unreachable when it does not answer in time, another HostError when it refuses.
        """
        transport = _Transport(self._socket, timeout_s)
        try:
            with xmlrpc.ServerProxy("http://localhost", transport=transport) as server:
                return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.Fault as error:
            if error.faultCode in _HARMLESS:
                return None
            raise HostError(f"The supervisor refuses {method}: {error.faultString}") from error
        except (OSError, http.client.HTTPException, xmlrpc.ProtocolError) as error:
            raise Unreachable(f"The supervisor does not answer; see {self._log}.") from error

    def processes(self) -> dict[str, dict[str, Any]]:
        """Return what it says of each service (state, pid, start …); empty when it is down."""
        try:
            infos = self.call("getAllProcessInfo")
        except Unreachable:
            return {}
        return {info["name"]: info for info in infos if info["name"] != configuration.WATCH}

    def runs(self) -> bool:
        try:
            self.call("getState")
        except Unreachable:
            return False
        return True

    def environment(self) -> dict[str, str]:
        """Return the environment that it was started with, which is that of its programs."""
        return processes.environment_of(self.call("getPID"))

    def log_size(self) -> int:
        """Return how many bytes its log has now, for `exits`."""
        return self._log.stat().st_size if self._log.exists() else 0

    def exits(self, name: str, since: int) -> list[str]:
        """Return how a program ended by itself, as in "exit status 2", since its log had this size.

        From its log, as its calls do not tell the status of one that ended too quickly.
        """
        try:
            with self._log.open("rb") as log:
                log.seek(since if since <= self.log_size() else 0)  # it has been rotated
                text = log.read().decode(errors="replace")
        except OSError:
            return []
        return re.findall(rf" exited: {re.escape(name)} \(([^;)]*)", text)

    def launch(self) -> None:
        """End what an earlier one left behind, start it, and wait until it answers."""
        self.sweep()
        argv = (sys.executable, "-m", "infra.supervisor.daemon", "-c")
        done = subprocess.run(  # noqa: S603
            (*argv, str(configuration.configuration_file(self._host))),
            cwd=self._host.root,
            env=os.environ | self._host.exported,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr or done.stdout).strip()
            raise HostError(f"The supervisor does not start: {reason}")
        deadline = time.monotonic() + _LAUNCH_TIMEOUT_S
        while not self.runs():
            if time.monotonic() > deadline:
                raise Unreachable(f"The supervisor does not answer; see {self._log}.")
            time.sleep(processes.POLL_S)
        self.start(configuration.WATCH)

    def update(self) -> None:
        """Make it follow a changed configuration; changed programs are stopped, not started."""
        added, changed, removed = self.call("reloadConfig")[0]
        for group in (*removed, *changed):
            self.call("stopProcessGroup", group, timeout_s=_STOP_TIMEOUT_S)
            self.call("removeProcessGroup", group)
        for group in (*changed, *added):
            self.call("addProcessGroup", group)
        self.start(configuration.WATCH)

    def start(self, name: str) -> None:
        """Start one program without waiting for it; one that runs stays as it is."""
        self.call("startProcess", name, False)

    def stop(self, name: str) -> None:
        self.call("stopProcess", name, False)

    def shut_down(self) -> None:
        """End it with all its programs, and what was left behind."""
        if self.runs():
            pid = self.call("getPID")
            # All at once: "shutdown" alone ends them one by one, a second each.
            self.call("stopAllProcesses", False)
            self.call("shutdown")
            processes.wait_gone(pid, _SHUTDOWN_TIMEOUT_S)
        self.sweep()

    def sweep(self) -> None:
        """End what a killed supervisor or a frozen one left behind, and remove its files."""
        pid = processes.read_pid(self._pid_file)
        if pid and str(configuration.configuration_file(self._host)) in processes.command_of(pid):
            processes.end(pid, _OWN_GRACE_S)
        for pid_file in self._host.run_dir.glob("*.pid"):
            spec = configuration.spec_file(self._host, pid_file.stem)
            if pid_file != self._pid_file and not spec.exists():
                continue  # some other program's
            command = configuration.recorded_command(self._host, pid_file.stem)
            pid = processes.read_pid(pid_file)
            if pid and command and processes.command_of(pid) == command:
                processes.end(pid, _PROGRAM_GRACE_S)
            pid_file.unlink(missing_ok=True)
        self._socket.unlink(missing_ok=True)
