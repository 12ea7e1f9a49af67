"""How the services are: what the supervisor says, and whether each answers that it is ready."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import httpx

from infra.supervisor.host import Host
from infra.supervisor.services import Service

_PROBE_TIMEOUT_S = 2.0
_EXCERPT_LENGTH = 400


@dataclass(frozen=True, kw_only=True)
class Status:
    """One service now; `detail` says in a few words why it is not ready."""

    name: str
    state: str
    pid: int | None = None
    uptime_s: int | None = None
    ready: bool = False
    detail: str
    log: str


def prober() -> httpx.Client:
    """Make a client for `read_status`; share it, as making one costs more than many probes.

    Proxies of the environment are not for this host's own services.
    """
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(timeout=_PROBE_TIMEOUT_S, trust_env=False, limits=limits)


def read_status(
    host: Host,
    services: Sequence[Service],
    processes: dict[str, dict[str, Any]],
    client: httpx.Client,
) -> list[Status]:
    """Return the status of each service; `processes` is what the supervisor says of them."""
    with ThreadPoolExecutor(max_workers=max(len(services), 1)) as pool:
        return [*pool.map(lambda s: _status(host, s, processes.get(s.name), client), services)]


def _status(
    host: Host, service: Service, process: dict[str, Any] | None, client: httpx.Client
) -> Status:
    log = str(host.log_file(service.name)) if service.supervised else "-"
    if service.supervised and (process is None or not process["pid"]):
        state = "STOPPED" if process is None else process["statename"]
        detail = "" if process is None else process["spawnerr"]
        return Status(name=service.name, state=state, detail=detail or "not running", log=log)
    detail = _probe(service, process, client)
    ready = not detail
    if process is None:
        return Status(name=service.name, state="EXTERNAL", ready=ready, detail=detail, log=log)
    return Status(
        name=service.name,
        # The supervisor calls a program "starting" until it has lasted `starts_s`.
        state="RUNNING" if ready else process["statename"],
        pid=process["pid"],
        uptime_s=max(0, int(time.time() - process["start"])),
        ready=ready,
        detail=detail,
        log=log,
    )


def _probe(service: Service, process: dict[str, Any] | None, client: httpx.Client) -> str:
    """Return why the service is not ready; empty when it is."""
    if service.ready_url is None:
        return "" if process is not None and process["statename"] == "RUNNING" else "starting"
    try:
        answer = client.get(service.ready_url)
    except httpx.TimeoutException:
        return f"{service.ready_url} does not answer"
    except httpx.TransportError:
        return f"{service.ready_url} cannot be reached"
    if answer.status_code == 200:
        return ""
    excerpt = " ".join(answer.text.split())[:_EXCERPT_LENGTH]
    return f"{service.ready_url} answers {answer.status_code}: {excerpt}"


def as_table(rows: Sequence[Status]) -> str:
    """Return the services as a table for people, with a line for each that is not ready."""
    cells = [("SERVICE", "STATE", "PID", "UPTIME", "READY", "LOG")]
    for row in rows:
        pid, ready = str(row.pid or "-"), "yes" if row.ready else "no"
        cells.append((row.name, row.state, pid, _duration(row.uptime_s), ready, row.log))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    lines += [f"{row.name}: {row.detail}" for row in rows if row.detail]
    return "\n".join(lines)


def as_json(rows: Sequence[Status], engine: str) -> dict[str, Any]:
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
