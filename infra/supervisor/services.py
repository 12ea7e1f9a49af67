"""The services of this host, in the order in which they depend on each other.

Each must bear that the ones it needs are missing (that is what a crash looks like), so all are
started at once; `after` names the few that have to be ready first.

`EASEL_SERVICE_TABLE` names a JSON file that replaces the table, a list of objects with the
fields of `Service`: the place where tests put small programs.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from infra.supervisor import comfyui
from infra.supervisor.errors import HostError
from infra.supervisor.host import Host

NAMES = ("comfyui", "gpu_server", "backend", "local_telegram", "telegram_bot")


@dataclass(frozen=True)
class Service:
    """One supervised program; without a `command` it runs elsewhere and is only watched.

    Args:
        ready_url: Answers 200 when the service can do its work; None: ready while it runs.
        live_path: Answers anything while the process works; one that answers no more is killed
            and started again.
        starts_s: A program that ends sooner has failed to start, and the next try waits longer.
        retries: Failed starts in a row until the supervisor gives it up.
        ready_s: How long it may take to be ready once the services before it are.
        stop_s: How long it may take to end before it is killed.
    """

    name: str
    command: tuple[str, ...]
    ready_url: str | None = None
    address: str = "127.0.0.1"
    port: int | None = None
    live_path: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()
    starts_s: int = 5
    retries: int = 20
    ready_s: float = 60.0
    stop_s: int = 10

    @property
    def supervised(self) -> bool:
        """Whether it is ours to start and stop."""
        return bool(self.command)


def service_table(host: Host) -> list[Service]:
    """The services that belong on this host, dependencies first."""
    substitute = host.settings.get("EASEL_SERVICE_TABLE")
    table = _read_table(Path(substitute)) if substitute else _built_in(host)
    wanted = _wanted(host, [service.name for service in table])
    return [service for service in table if service.name in wanted]


def _built_in(host: Host) -> list[Service]:
    candidates = [_engine(host), _gpu_server(host), _backend(host)]
    if not host.settings.get("BOT_TOKEN", "").strip():
        candidates.append(_local_telegram(host))
    candidates.append(_telegram_bot(host))
    return [service for service in candidates if service is not None]


def _wanted(host: Host, known: list[str]) -> set[str]:
    text = host.settings.get("EASEL_SERVICES", "")
    chosen = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(chosen - set(known) - set(NAMES))
    if unknown:
        raise HostError(f"EASEL_SERVICES names {', '.join(unknown)}; allowed: {', '.join(NAMES)}.")
    return chosen or set(known)


def _engine(host: Host) -> Service | None:
    port = host.port("COMFYUI_PORT", 8188)
    url = f"http://127.0.0.1:{port}/system_stats"
    elsewhere = host.settings.get("COMFYUI_URL", "").strip()
    if elsewhere:
        _require_address("COMFYUI_URL", elsewhere)
        return Service("comfyui", (), ready_url=f"{elsewhere.rstrip('/')}/system_stats")
    if comfyui.is_installed(host):
        command = comfyui.command(host, port)
        return Service("comfyui", command, url, port=port, starts_s=10, ready_s=300.0)
    checkpoint = host.settings.get("EASEL_CHECKPOINT", "").strip()
    sketch = (
        *_module("gpu_server.sketch"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--base-dir", str(host.data_dir / "sketch")),
        *(("--checkpoint", checkpoint) if checkpoint else ()),
    )
    return (
        Service("comfyui", sketch, url, port=port) if _in_tree(host, "gpu_server.sketch") else None
    )


def _require_address(name: str, text: str) -> None:
    try:
        address = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise HostError(f"{name} is no address: {error}. Example: http://10.0.0.5:8188") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise HostError(f"{name} must begin with http:// or https:// and name a host.")


def _gpu_server(host: Host) -> Service | None:
    address, port = host.address("GPU_HOST"), host.port("GPU_PORT", 8100)
    service = _ours(host, "gpu_server", "gpu_server", address, port)
    if service is None or comfyui.engine(host) == "external":
        return service
    # A ComfyUI that hangs is ended by the GPU server, which notices, and started again here.
    return replace(service, env={"GPU_COMFYUI_PID_FILE": str(host.run_dir / "comfyui.pid")})


def _backend(host: Host) -> Service | None:
    address, port = host.address("BACKEND_HOST"), host.port("BACKEND_PORT", 8000)
    return _ours(host, "backend", "backend", address, port)


def _local_telegram(host: Host) -> Service | None:
    port = host.port("LOCAL_TELEGRAM_PORT", 8081)
    service = _ours(host, "local_telegram", "telegram_bot.local", "127.0.0.1", port, "/")
    return service and replace(service, live_path="/")


def _telegram_bot(host: Host) -> Service | None:
    if not _in_tree(host, "telegram_bot"):
        return None
    command = _module("telegram_bot")
    if host.settings.get("BOT_TOKEN", "").strip():
        return Service("telegram_bot", command, starts_s=2)
    port = host.port("LOCAL_TELEGRAM_PORT", 8081)
    local = {"BOT_API_BASE_URL": f"http://127.0.0.1:{port}/bot"}
    return Service("telegram_bot", command, env=local, after=("local_telegram",), starts_s=2)


def _ours(
    host: Host, name: str, module: str, address: str, port: int, ready_path: str = "/readyz"
) -> Service | None:
    if not _in_tree(host, module):
        return None
    url = base_url(address, port) + ready_path
    # On a pod's network volume the first import of everything can take a minute.
    ready_s = 60.0 if host.pod_dir is None else 180.0
    return Service(name, _module(module), url, address, port, "/livez", ready_s=ready_s)


def base_url(address: str, port: int) -> str:
    """`http://address:port`, an IPv6 address in brackets."""
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def _module(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


def _in_tree(host: Host, module: str) -> bool:
    path = host.root.joinpath(*module.split("."))
    return (path / "__main__.py").is_file() or path.with_suffix(".py").is_file()


def _read_table(path: Path) -> list[Service]:
    try:
        rows = json.loads(path.read_text())
        return [
            Service(
                **{**row, "command": tuple(row["command"]), "after": tuple(row.get("after", ()))}
            )
            for row in rows
        ]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise HostError(f"EASEL_SERVICE_TABLE: {path} is not a service table: {error}.") from error
