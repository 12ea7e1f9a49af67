"""The services of this host, in the order in which they depend on each other.

Each must cope with the absence of those it needs (that is what their crash looks like), so all
are started at once; `after` names the few that have to be ready first.

`EASEL_SERVICE_TABLE` names a JSON file that replaces the table, a list of objects with the
fields of `Service`: tests put small programs there.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path

import httpx

from infra.supervisor import comfyui
from infra.supervisor.host import Host, HostError

_NAMES = ("comfyui", "gpu_server", "backend", "local_telegram", "telegram_bot")


@dataclass(frozen=True)
class Service:
    """One program of this host; without a `command` it runs elsewhere and is only probed.

    Args:
        name: Also names the PID file and the log.
        ready_url: Answers 200 when the service can do its work; None: ready while it runs.
        port: Must be free before it is started; None: it listens on none.
        live_path: Answers anything while the process works; a service that stops answering there
            is killed and started again.
        after: Names of services that must be ready before it is started.
        starts_s: A program that ends sooner has failed to start, and the next try waits longer.
        retries: Consecutive failed starts before the supervisor gives up.
        ready_s: How long it may take to be ready once the services before it are.
        stop_s: How long it may take to end before it is killed.
    """

    name: str
    command: tuple[str, ...]
    _: KW_ONLY
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
        """Whether this host starts and stops it."""
        return bool(self.command)


def service_table(host: Host) -> list[Service]:
    """Return the services that belong on this host, dependencies first."""
    substitute = host.settings.get("EASEL_SERVICE_TABLE")
    table = _read_table(Path(substitute)) if substitute else _built_in(host)
    chosen = {name.strip() for name in host.setting("EASEL_SERVICES").split(",")} - {""}
    wanted = chosen or {service.name for service in table}
    unknown = sorted(wanted - {service.name for service in table} - set(_NAMES))
    if unknown:
        raise HostError(f"EASEL_SERVICES names {', '.join(unknown)}; allowed: {', '.join(_NAMES)}.")
    return [service for service in table if service.name in wanted]


def _built_in(host: Host) -> list[Service]:
    backend = _backend(host)
    candidates = [_engine(host), _gpu_server(host), backend]
    if not host.setting("BOT_TOKEN"):
        candidates.append(_local_telegram(host))
    candidates.append(_telegram_bot(host))
    return [service for service in candidates if service is not None]


def _engine(host: Host) -> Service | None:
    port = host.port("COMFYUI_PORT", 8188)
    url = f"http://127.0.0.1:{port}/system_stats"
    if elsewhere := host.setting("COMFYUI_URL"):
        _require_address("COMFYUI_URL", elsewhere)
        return Service("comfyui", (), ready_url=f"{elsewhere.rstrip('/')}/system_stats")
    if comfyui.is_installed(host):
        command = comfyui.command(host, port)
        return Service("comfyui", command, ready_url=url, port=port, starts_s=10, ready_s=300.0)
    if not _in_tree(host, "gpu_server.sketch"):
        return None
    checkpoint = host.setting("EASEL_CHECKPOINT")
    sketch = (
        *_module("gpu_server.sketch"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--base-dir", str(host.data_dir / "sketch")),
        *(("--checkpoint", checkpoint) if checkpoint else ()),
    )
    return Service("comfyui", sketch, ready_url=url, port=port)


def _is_here(host: Host, name: str) -> bool:
    chosen = {part.strip() for part in host.setting("EASEL_SERVICES").split(",")} - {""}
    return not chosen or name in chosen


def backend_url(host: Host) -> str:
    return base_url(host.address("BACKEND_HOST"), host.port("BACKEND_PORT", 8000))


def _callers_default(host: Host, name: str, default: str, url: str, service: str) -> dict[str, str]:
    """Point those who call a service of this host at the port it has here, unless they are told."""
    told = host.setting(name).rstrip("/") not in {"", default}
    return {} if told or not _is_here(host, service) else {name: url}


def _backend(host: Host) -> Service | None:
    address, port = host.address("BACKEND_HOST"), host.port("BACKEND_PORT", 8000)
    service = _server(host, "backend", address=address, port=port)
    pod = base_url(host.address("GPU_HOST"), host.port("GPU_PORT", 8100))
    default = "http://127.0.0.1:8100"
    callee = _callers_default(host, "BACKEND_GPU_SERVERS", default, pod, "gpu_server")
    return service and replace(service, env={"BACKEND_PORT": str(port)} | callee)


def _require_address(name: str, text: str) -> None:
    try:
        address = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise HostError(f"{name} is no address: {error}. Example: http://10.0.0.5:8188") from error
    if address.scheme not in {"http", "https"} or not address.host:
        raise HostError(f"{name} must begin with http:// or https:// and name a host.")


def _gpu_server(host: Host) -> Service | None:
    address, port = host.address("GPU_HOST"), host.port("GPU_PORT", 8100)
    service = _server(host, "gpu_server", address=address, port=port)
    if service is None:
        return None
    env = {"GPU_PORT": str(port)}
    if comfyui.engine(host) == "external":
        return replace(service, env=env | {"COMFYUI_URL": host.setting("COMFYUI_URL")})
    # The GPU server notices when ComfyUI hangs and kills it; the supervisor starts it again.
    env |= {"COMFYUI_PORT": str(host.port("COMFYUI_PORT", 8188))}
    return replace(service, env=env | {"GPU_COMFYUI_PID_FILE": str(host.pid_file("comfyui"))})


def _local_telegram(host: Host) -> Service | None:
    address, port = "127.0.0.1", host.port("LOCAL_TELEGRAM_PORT", 8081)
    service = _server(host, "telegram_bot.local", address=address, port=port, ready_path="/")
    env = {"LOCAL_TELEGRAM_PORT": str(port)}
    return service and replace(service, name="local_telegram", live_path="/", env=env)


def _telegram_bot(host: Host) -> Service | None:
    if not _in_tree(host, "telegram_bot"):
        return None
    default = "http://127.0.0.1:8000"
    env = _callers_default(host, "BOT_BACKEND_URL", default, backend_url(host), "backend")
    bot = Service("telegram_bot", _module("telegram_bot"), env=env, starts_s=2)
    if host.setting("BOT_METRICS_PORT") != "0":
        own = host.port("BOT_METRICS_PORT", 8090)
        ready_url = base_url("127.0.0.1", own) + "/readyz"
        bot = replace(bot, ready_url=ready_url, port=own, live_path="/livez")
    if host.setting("BOT_TOKEN"):
        return bot
    port = host.port("LOCAL_TELEGRAM_PORT", 8081)
    local = {"BOT_API_BASE_URL": f"http://127.0.0.1:{port}/bot"}
    return replace(bot, env=env | local, after=("local_telegram",))


def _server(
    host: Host, module: str, *, address: str, port: int, ready_path: str = "/readyz"
) -> Service | None:
    if not _in_tree(host, module):
        return None
    return Service(
        module,
        _module(module),
        ready_url=base_url(address, port) + ready_path,
        address=address,
        port=port,
        live_path="/livez",
        # On a pod's network volume the first import of everything can take a minute.
        ready_s=60.0 if host.pod_dir is None else 180.0,
    )


def base_url(address: str, port: int) -> str:
    """Return `http://address:port`, an IPv6 address in brackets."""
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


def _module(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


def _in_tree(host: Host, module: str) -> bool:
    return host.root.joinpath(*module.split("."), "__main__.py").is_file()


def _read_table(path: Path) -> list[Service]:
    try:
        return [
            Service(**row | {name: tuple(row.get(name, ())) for name in ("command", "after")})
            for row in json.loads(path.read_text())
        ]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise HostError(f"EASEL_SERVICE_TABLE: {path} is not a service table: {error}.") from error
