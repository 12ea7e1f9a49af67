"""How the services are: what the supervisor says, and whether each answers that it is ready."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.supervisor.host import Host
from infra.supervisor.services import Service

PROBE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Status:
    """One service now; `detail` says in a few words why it is not ready."""

    name: str
    state: str
    pid: int | None
    uptime_s: int | None
    ready: bool
    detail: str
    log: str


def prober() -> httpx.Client:
    """What asks services whether they are ready; making one costs more than asking often.

    Proxies of the environment are not for this host's own services.
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=PROBE_TIMEOUT_S, trust_env=False, limits=limits)


def read_status(
    host: Host,
    services: Sequence[Service],
    processes: dict[str, dict[str, Any]],
    client: httpx.Client,
) -> list[Status]:
    """The status of each service; `processes` is what the supervisor says of them."""
    with ThreadPoolExecutor(max_workers=max(len(services), 1)) as pool:
        rows = pool.map(lambda s: _one(host, s, processes.get(s.name), client), services)
        return list(rows)


def _one(
    host: Host, service: Service, process: dict[str, Any] | None, client: httpx.Client
) -> Status:
    log = "-" if not service.supervised else str(log_file(host, service))
    if service.supervised and (process is None or not process["pid"]):
        state = "STOPPED" if process is None else process["statename"]
        detail = "" if process is None else process["spawnerr"]
        return Status(service.name, state, None, None, False, detail or "not running", log)
    ready, detail = _probe(service, process, client)
    if process is None:
        return Status(service.name, "EXTERNAL", None, None, ready, detail, log)
    uptime_s = max(0, int(time.time() - process["start"]))
    # The supervisor calls a program "starting" until it has lasted some seconds.
    state = "RUNNING" if ready else process["statename"]
    return Status(service.name, state, process["pid"], uptime_s, ready, detail, log)


def _probe(
    service: Service, process: dict[str, Any] | None, client: httpx.Client
) -> tuple[bool, str]:
    if service.ready_url is None:
        runs = process is not None and process["statename"] == "RUNNING"
        return runs, "" if runs else "starting"
    try:
        answer = client.get(service.ready_url)
    except httpx.TimeoutException:
        return False, f"{service.ready_url} does not answer"
    except httpx.TransportError:
        return False, f"{service.ready_url} cannot be reached"
    if answer.status_code == 200:
        return True, ""
    return False, f"{service.ready_url} answers {answer.status_code}: {_excerpt(answer.text)}"


def _excerpt(text: str) -> str:
    return " ".join(text.split())[:400]


def log_file(host: Host, service: Service) -> Path:
    """Where the output of a supervised service goes."""
    return host.log_dir / f"{service.name}.log"


def as_table(rows: Sequence[Status]) -> str:
    """The services as a table for people, with a line for each that is not ready."""
    cells = [("SERVICE", "STATE", "PID", "UPTIME", "READY", "LOG")]
    cells += [
        (
            row.name,
            row.state,
            str(row.pid or "-"),
            _duration(row.uptime_s),
            "yes" if row.ready else "no",
            row.log,
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    lines += [f"{row.name}: {row.detail}" for row in rows if not row.ready and row.detail]
    return "\n".join(lines)


def as_json(rows: Sequence[Status], engine: str) -> dict[str, Any]:
    """The same for programs."""
    return {
        "ready": all(row.ready for row in rows),
        "engine": engine,
        "services": [asdict(row) for row in rows],
    }


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"
