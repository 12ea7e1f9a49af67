"""Start, stop and restart the services of a host, and wait until they are ready."""

import errno
import fcntl
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.supervisor import comfyui, processes
from infra.supervisor.configuration import local_directory, write_configuration
from infra.supervisor.host import Host, HostError, unread_settings
from infra.supervisor.services import Service, service_table
from infra.supervisor.settings_check import check_settings, unseen_settings
from infra.supervisor.status import Status, prober, read_status
from infra.supervisor.supervisord import Supervisord

_POLL_S = 0.1
_LOCK_TIMEOUT_S = 600.0
_STOP_MARGIN_S = 5.0
"""How long to wait for a stop beyond the `stop_s` after which the supervisor kills."""
_TRIES = 2
"""A service that ends this often before it was ready is broken, even if retries are left."""
_PAUSES = {"BACKOFF", "FATAL"}
"""States in which the supervisor waits before it tries again, or has given up."""
_SETTINGS_EXIT = "exit status 2"
"""How Easel's services end when a setting is wrong: another try cannot help."""
_LOG_LINES = 15
_LINE_LENGTH = 500
_LINE_START = 80


def start(host: Host, names: Sequence[str] = ()) -> list[Status]:
    """Start what does not run and wait until it is ready; quick and harmless when all runs."""
    services = _wanted(host, names)
    if Supervisord(host).runs():  # what has changed is stopped
        check_settings(host, services)
        if unseen := _unseen(host, services):
            print(f"Note: {unseen}", file=sys.stderr, flush=True)
    make_directories(host)
    with _lock(host):
        return _begin(host, services).wait()


def _wanted(host: Host, names: Sequence[str]) -> list[Service]:
    """Return the services to start; raise `HostError` for settings that forbid any start."""
    if unread := unread_settings(host):
        raise HostError(" ".join(unread))
    return select(service_table(host), names)


def stop(host: Host, names: Sequence[str] = ()) -> list[str]:
    """Stop services, by default all with their supervisor; return the names of those that ran."""
    table = service_table(host) if names else []  # a wrong setting never keeps all from stopping
    chosen = [service for service in select(table, names) if service.supervised]
    if not host.run_dir.is_dir():
        return []
    with _lock(host):
        supervisord = Supervisord(host)
        running = [name for name, info in supervisord.processes().items() if _goes_on(info)]
        if not names:
            supervisord.shut_down()
            return running
        stopped = [service for service in chosen if service.name in running]
        _stop(host, supervisord, stopped)
        return [service.name for service in reversed(stopped)]


def _goes_on(info: dict[str, Any]) -> bool:
    """Return whether a program runs, or will by itself after its pause."""
    return bool(info["pid"]) or info["statename"] == "BACKOFF"


def restart(host: Host, names: Sequence[str] = ()) -> list[Status]:
    """Stop, then start; without names the supervisor too, which then reads every new setting.

    Stops nothing when a setting or a mode would prevent the start, or when single services would
    not get a setting that is new in the environment.
    """
    check(host, names)
    if names and (unseen := _unseen(host, _wanted(host, names))):
        raise HostError(f"Nothing was changed: {unseen}")
    stop(host, names)
    return start(host, names)


def _unseen(host: Host, services: Sequence[Service]) -> str:
    supervisord = Supervisord(host)
    return unseen_settings(host, services, supervisord.environment()) if supervisord.runs() else ""


def check(host: Host, names: Sequence[str] = ()) -> None:
    """Raise `HostError` for a setting or a mode with which the services would not start."""
    check_settings(host, _wanted(host, names))


def select(services: Sequence[Service], names: Sequence[str]) -> list[Service]:
    """Return the named services in their order, all of them when no name is given."""
    known = [service.name for service in services]
    if unknown := [name for name in names if name not in known]:
        raise HostError(
            f"No service {', '.join(unknown)} on this host; "
            f"there are: {', '.join(known) or 'none'}."
        )
    return [service for service in services if not names or service.name in names]


@dataclass(kw_only=True)
class _Start:
    """A start that waits until its services are ready, and notices those that will not be.

    `held` wait for others to be ready. `older_pids` are processes that ran before, by service:
    their end tells nothing about the present settings. `log_size` is that of the supervisor's log.
    """

    host: Host
    supervisord: Supervisord
    services: Sequence[Service]
    held: list[Service]
    older_pids: dict[str, int]
    log_size: int
    first: str = ""
    since: float = field(default_factory=time.monotonic)

    def wait(self) -> list[Status]:
        """Wait until all are ready; start those held back when those before them are."""
        names = {service.name for service in self.services}
        with prober() as client:
            while True:
                infos = self.supervisord.processes()
                if not infos and any(service.supervised for service in self.services):
                    log = self.host.log_file("supervisord")
                    raise HostError(f"The supervisor ended; see {log}.")
                rows = read_status(self.host, self.services, infos, client)
                ready = {row.name for row in rows if row.ready}
                if len(ready) == len(rows):
                    return rows
                self._check(rows)
                for service in [one for one in self.held if names & {*one.after} <= ready]:
                    self.supervisord.start(service.name)
                    self.held.remove(service)
                time.sleep(_POLL_S)

    def _check(self, rows: Sequence[Status]) -> None:
        """Raise `HostError` for a service that was given up, keeps ending, or is too late."""
        pairs = [*zip(self.services, rows, strict=True)]
        for service, row in pairs:
            if not row.ready and service not in self.held:
                self._check_ends(service, row)
        # The first that is not ready is the cause; those after it only wait.
        service, row = next((service, row) for service, row in pairs if not row.ready)
        if service.name != self.first:
            self.first, self.since = service.name, time.monotonic()
        if time.monotonic() - self.since > service.ready_s:
            raise self._failure(service, f"not ready after {service.ready_s:.0f} s: {row.detail}")

    def _check_ends(self, service: Service, row: Status) -> None:
        """Judge by how it ended, in whatever state: a slow start ends as a running program."""
        exits = self.supervisord.exits(row.name, self.log_size)
        exits = exits[row.name in self.older_pids :]
        if not exits and row.state != "FATAL":
            return
        end = exits[-1] if exits else row.detail
        rejected = end == _SETTINGS_EXIT
        if not rejected and row.state != "FATAL" and len(exits) < _TRIES:
            return
        if rejected or row.state not in _PAUSES:
            self.supervisord.stop(row.name)  # it would be started again without end
        if rejected:
            raise self._failure(service, "it does not accept its settings.", lines=1)
        raise self._failure(service, f"it keeps ending ({end}).")

    def _failure(self, service: Service, reason: str, lines: int = _LOG_LINES) -> HostError:
        message = f"{service.name} did not become ready: {reason}"
        if not service.supervised:
            return HostError(f"{message}\nStart it, or correct or remove COMFYUI_URL.")
        path = self.host.log_file(service.name)
        return HostError(f"{message}\nThe end of {path}:\n{_last_lines(path, lines)}")


def _begin(host: Host, services: Sequence[Service]) -> _Start:
    """Bring the supervisor up with the whole table and start what may start now."""
    supervisord, table = Supervisord(host), service_table(host)
    up = supervisord.runs()
    if not up:
        supervisord.sweep()
    _check_ports(_idle(services, supervisord.processes()))
    if any(service.name == "comfyui" for service in services):
        comfyui.prepare(host)
    write_configuration(host, [service for service in table if service.supervised])
    if up:
        supervisord.update()
    else:
        supervisord.launch()
    infos = supervisord.processes()  # again, as an update stops what has changed
    idle = _idle(services, infos)
    log_size = supervisord.log_size()
    for service in idle:
        supervisord.stop(service.name)  # one that waits for its next try starts now instead
        if not service.after:
            supervisord.start(service.name)
    return _Start(
        host=host,
        supervisord=supervisord,
        services=services,
        held=[service for service in idle if service.after],
        log_size=log_size,
        older_pids={name: info["pid"] for name, info in infos.items() if info["pid"]},
    )


def _idle(services: Sequence[Service], infos: dict[str, dict[str, Any]]) -> list[Service]:
    return [s for s in services if s.supervised and not infos.get(s.name, {}).get("pid")]


def _last_lines(path: Path, count: int) -> str:
    """Return the last lines of a log, indented and shortened; "(empty)" when there are none."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - 65536))
            lines = log.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        lines = []
    return "\n".join(f"  {_shortened(line)}" for line in lines) or "  (empty)"


def _shortened(line: str) -> str:
    """Cut the middle of a long line: a traceback in JSON says at its end what happened."""
    if len(line) <= _LINE_LENGTH:
        return line
    return f"{line[:_LINE_START]} … {line[_LINE_START - _LINE_LENGTH :]}"


def _stop(host: Host, supervisord: Supervisord, services: Sequence[Service]) -> None:
    for service in services:
        supervisord.stop(service.name)
    timeout_s = max((service.stop_s for service in services), default=0) + _STOP_MARGIN_S
    deadline = time.monotonic() + timeout_s
    names = {service.name for service in services}
    while any(_goes_on(info) for name, info in supervisord.processes().items() if name in names):
        if time.monotonic() > deadline:
            raise HostError(f"{', '.join(sorted(names))} cannot be stopped; see the logs.")
        time.sleep(_POLL_S)
    for name in names:
        host.pid_file(name).unlink(missing_ok=True)


def _check_ports(services: Sequence[Service]) -> None:
    for service in services:
        if service.port is None or processes.port_is_free(service.address, service.port):
            continue
        raise HostError(
            f"Port {service.port}, which {service.name} needs, is taken by "
            f"{processes.port_owner(service.port)}. End that program or choose another port "
            "in the service's .env."
        )


def make_directories(host: Host) -> None:
    """Make the directories of this host's state; raise `HostError` when one is not writable."""
    for name, path in (
        ("EASEL_DATA_DIR", host.data_dir),
        ("EASEL_LOG_DIR", host.log_dir),
        ("EASEL_RUN_DIR", host.run_dir),
    ):
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / f".probe-{os.getpid()}"
            probe.write_bytes(bytes(65536))
            probe.unlink()
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            advice = "Free some space" if full else f"Make it writable or set {name} to another"
            raise HostError(
                f"{path} cannot be written to: {error.strerror}. {advice}, then start again."
            ) from error


@contextmanager
def _lock(host: Host) -> Iterator[None]:
    """Let one start or stop run at a time; wait for another up to `_LOCK_TIMEOUT_S`."""
    deadline, announced = time.monotonic() + _LOCK_TIMEOUT_S, False
    with (local_directory(host) / "startup.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    minutes = f"{_LOCK_TIMEOUT_S / 60:.0f} minutes"
                    raise HostError(f"Another startup.sh has run for {minutes}.") from error
                if not announced:
                    print("Another startup.sh is running; waiting for it.", flush=True)
                announced = True
                time.sleep(_POLL_S)
        yield
