"""Look for faults of this host and say for each what to do."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx

from infra.supervisor import comfyui, lifecycle, processes
from infra.supervisor.host import SHARED_PREFIXES, Host, HostError, env_files, unread_settings
from infra.supervisor.services import Service, service_table
from infra.supervisor.settings_check import WITH_SETTINGS, settings_faults
from infra.supervisor.supervisord import Supervisord

_UNHEALTHY = 3
_MIN_FREE_BYTES = 2 * 10**9
_MIN_COMFYUI = (0, 38, 0)  # the first with every node of the shipped graphs
_CLOCK_TOLERANCE_S = 30


@dataclass(frozen=True)
class Finding:
    """The result of one check; `remedy` is empty when it is in order."""

    check: str
    result: Literal["ok", "warning", "fault"]
    message: str
    remedy: str = ""


def report(host: Host, *, as_json: bool) -> int:
    """Print every finding; return 0, or 3 when there is a fault."""
    checks = (_python, _disk, _gpu, _ports, _engine, _models, _modes, _settings, _bot, _clock)
    findings = [finding for check in checks for finding in _findings(check, host)]
    healthy = all(finding.result != "fault" for finding in findings)
    if as_json:
        print(json.dumps({"healthy": healthy, "findings": [asdict(f) for f in findings]}))
    for finding in () if as_json else findings:
        print(f"{finding.result:<8} {finding.check:<16} {finding.message}")
        if finding.remedy:
            print(f"{'':<25} → {finding.remedy}")
    return 0 if healthy else _UNHEALTHY


def _findings(check: Callable[[Host], Iterator[Finding]], host: Host) -> Iterator[Finding]:
    try:
        yield from check(host)
    except HostError as error:  # a setting that prevents this check; the others still run
        name = check.__name__.lstrip("_")
        yield Finding(name, "fault", str(error), "Correct that setting, then check again.")


def _python(_host: Host) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _disk(host: Host) -> Iterator[Finding]:
    places = {"data": host.data_dir, "logs": host.log_dir, "models": host.models_dir}
    for name, path in places.items():
        existing = next(place for place in (path, *path.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        text = f"{free / 1e9:.1f} GB free at {path}"
        if free < _MIN_FREE_BYTES:
            yield Finding(f"disk {name}", "fault", text, "Free some space or use another disk.")
        else:
            yield Finding(f"disk {name}", "ok", text)
    try:
        lifecycle.make_directories(host)
    except HostError as error:
        yield Finding("directories", "fault", str(error), "See the message.")


def _gpu(host: Host) -> Iterator[Finding]:
    query = "--query-gpu=name,driver_version,memory.used,memory.total"
    argv = ("nvidia-smi", query, "--format=csv,noheader")
    try:
        answer = subprocess.run(  # noqa: S603
            argv, capture_output=True, text=True, timeout=20, check=True
        )
        gpus = answer.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        gpus = ""
    if gpus:
        yield Finding("gpu", "ok", gpus.replace("\n", "; "))
    elif comfyui.engine(host) == "comfyui":
        remedy = (
            "Install the NVIDIA driver, or rent a pod with a GPU; on a CPU pictures take minutes."
        )
        yield Finding("gpu", "warning", "No NVIDIA GPU or driver answers (nvidia-smi).", remedy)
    else:
        yield Finding("gpu", "ok", "None on this host; the engine in use needs none here.")


def _ports(host: Host) -> Iterator[Finding]:
    running = {name for name, info in Supervisord(host).processes().items() if info["pid"]}
    for service in service_table(host):
        if service.port is None:
            continue
        name, port = f"port {service.port}", service.port
        if service.name in running:
            yield Finding(name, "ok", f"used by {service.name}")
        elif processes.port_is_free(service.address, port):
            yield Finding(name, "ok", f"free for {service.name}")
        else:
            text = f"{service.name} needs it, but {processes.port_owner(port)} has it"
            yield Finding(name, "fault", text, "End that program or choose another port.")


def _engine(host: Host) -> Iterator[Finding]:
    kind, sentence = comfyui.engine(host), comfyui.engine_sentence(host).splitlines()[0]
    if kind == "sketch":
        remedy = "Set COMFYUI_URL or COMFYUI_DIR, or run ./startup.sh install-comfyui."
        yield Finding("engine", "warning", sentence, remedy)
        return
    version = comfyui.version(host)
    numbers = tuple(int(part) for part in version.lstrip("v").split(".") if part.isdecimal())
    if kind == "comfyui" and numbers < _MIN_COMFYUI:
        wanted = ".".join(map(str, _MIN_COMFYUI))
        remedy = f"Update ComfyUI to {wanted} or newer; newer styles need it."
        yield Finding("comfyui version", "warning", f"{version} is older than {wanted}", remedy)
    elif kind == "comfyui":
        yield Finding("comfyui version", "ok", version)
    if packs := comfyui.node_packs(host):
        yield _node_packs(host, packs, is_here=kind == "comfyui")
    yield Finding("engine", "ok", sentence)
    for service in service_table(host):
        if service.name == "comfyui":
            yield from _output_node(service)


def _node_packs(host: Host, packs: tuple[str, ...], *, is_here: bool) -> Finding:
    """Say which custom nodes may run; those of a ComfyUI elsewhere cannot be seen."""
    if is_here and (missing := comfyui.missing_packs(host)):
        text = f"{', '.join(missing)} is not in {host.comfyui_dir / 'custom_nodes'}"
        remedy = "Install it there or correct COMFYUI_CUSTOM_NODES."
        return Finding("node packs", "fault", text, remedy)
    return Finding("node packs", "ok", f"allowed: {', '.join(packs)}; their code is not checked")


def _output_node(engine: Service) -> Iterator[Finding]:
    base = (engine.ready_url or "").removesuffix("/system_stats")
    try:
        nodes = httpx.get(f"{base}/object_info", timeout=10, trust_env=False).json()
    except (httpx.HTTPError, ValueError):
        yield Finding("output node", "warning", f"{base} does not answer", "./startup.sh start")
        return
    if any(name.startswith("Easel") for name in nodes):
        yield Finding("output node", "ok", "Easel's output node is loaded")
    else:
        remedy = "Copy gpu_server/comfyui_nodes to its custom_nodes/easel_nodes and restart it."
        yield Finding("output node", "warning", "Easel's output node is missing: slower", remedy)


def _models(host: Host) -> Iterator[Finding]:
    if comfyui.engine(host) != "comfyui" or not (host.root / "gpu_server/models").is_dir():
        return
    if checkpoint := host.setting("EASEL_CHECKPOINT"):
        yield _own_checkpoint(host, checkpoint)
        return
    answer = _python_output(host, "-m", "gpu_server.models", "list", "--json")
    rows: list[dict[str, Any]] = json.loads(answer.stdout)["models"] if answer.stdout else []
    present = [row["id"] for row in rows if row["state"] == "installed"]
    broken = [row["id"] for row in rows if row["state"] not in {"installed", "missing", "partial"}]
    text = f"{len(present)} of {len(rows)} files in {host.models_dir}, hashes checked"
    if broken:
        remedy = "./startup.sh models verify, then ./startup.sh models pull"
        text = f"unverified, of the wrong size or in no list: {', '.join(broken)}"
        yield Finding("models", "fault", text, remedy)
    elif not present:
        yield Finding("models", "fault", text, "./startup.sh models pull")
    else:
        yield Finding("models", "ok", text)


def _own_checkpoint(host: Host, name: str) -> Finding:
    """Check the one file that is needed when it serves every style."""
    place = host.models_dir / "checkpoints"
    if any((path / name).is_file() for path in (place, host.comfyui_dir / "models/checkpoints")):
        return Finding("models", "ok", f"{name} serves every style (EASEL_CHECKPOINT)")
    remedy = f"Put it into {place}, or correct EASEL_CHECKPOINT."
    return Finding("models", "fault", f"{name} (EASEL_CHECKPOINT) is not there", remedy)


def _modes(host: Host) -> Iterator[Finding]:
    if not (host.root / "gpu_server/modes/__main__.py").is_file():
        return
    answer = _python_output(host, "-m", "gpu_server.modes", "check", "--json")
    if not answer.stdout:  # a wrong setting, which is told below
        return
    report = json.loads(answer.stdout)
    reasons: dict[str, list[str]] = {}
    for fault in report["reasons"]:
        reasons.setdefault(fault["mode"], []).append(fault["reason"])
    for name, texts in reasons.items():
        remedy = f"Correct it (./startup.sh modes check {name}); it is taken up by itself."
        yield Finding(f"mode {name}", "fault", "; ".join(texts), remedy)
    for name, why in report["too_old"].items():
        remedy = "Update ComfyUI; until then the mode is out of service."
        yield Finding(f"mode {name}", "warning", why, remedy)
    if not reasons:
        yield Finding("modes", "ok", f"no fault; checked against {report['checked_against']}")


def _settings(host: Host) -> Iterator[Finding]:
    for sentence in unread_settings(host):
        yield Finding("settings host", "fault", sentence, "Move or correct that line.")
    for file in env_files(host):
        if file.stat().st_mode & 0o077:
            text = f"Other users can read {file}, which may hold secrets."
            yield Finding("settings mode", "warning", text, f"chmod 600 {file}")
    names = [name for name in WITH_SETTINGS if (host.root / name / "settings.py").is_file()]
    faults = settings_faults(host, names)
    for name in names:
        if name in faults:
            yield Finding(f"settings {name}", "fault", faults[name], f"Correct {name}/.env.")
        else:
            yield Finding(f"settings {name}", "ok", "valid")
    if "settings" in faults:
        yield Finding("settings", "fault", faults["settings"], "See the message.")


def _bot(host: Host) -> Iterator[Finding]:
    """Ask a bot that runs here whether it hears people."""
    for service in service_table(host):
        running = Supervisord(host).processes().get(service.name, {}).get("pid")
        if service.name != "telegram_bot" or service.ready_url is None or not running:
            continue
        try:
            checks = httpx.get(service.ready_url, timeout=5, trust_env=False).json()["checks"]
            wrong = [f"{name}: {state}" for name, state in checks.items() if state != "ok"]
        except (httpx.HTTPError, ValueError, KeyError):
            wrong = [f"{service.ready_url} does not answer"]
        if wrong:
            yield Finding("bot", "fault", "; ".join(wrong), "See ./startup.sh logs telegram_bot.")
        else:
            yield Finding("bot", "ok", "Telegram is reached, and the bot hears people")


def _clock(host: Host) -> Iterator[Finding]:
    """Compare with Telegram's clock when the bot uses it, else only with Easel's own files."""
    if host.setting("BOT_TOKEN"):
        try:
            date = httpx.head("https://api.telegram.org", timeout=5).headers["date"]
            behind = parsedate_to_datetime(date).timestamp() - time.time()
        except (httpx.HTTPError, KeyError, ValueError):
            remedy = "Allow HTTPS to api.telegram.org, and check the clock."
            yield Finding("clock", "warning", "Telegram cannot be reached", remedy)
            return
    else:
        behind = max((host.root / "startup.sh").stat().st_mtime - time.time(), 0)
    if abs(behind) > _CLOCK_TOLERANCE_S:
        remedy = "Set the clock (chrony, ntp); TLS and tokens depend on it."
        yield Finding("clock", "fault", f"it is wrong by {abs(behind):.0f} s", remedy)
    else:
        yield Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def environment_of(host: Host) -> dict[str, str]:
    """Return the environment in which commands of the services run: with their settings."""
    shared = {k: v for k, v in host.settings.items() if k.startswith(SHARED_PREFIXES)}
    return {**os.environ, **shared, **host.exported, "GPU_MODELS_DIR": str(host.models_dir)}


def _python_output(host: Host, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        (sys.executable, *argv),
        cwd=host.root,
        env=environment_of(host),
        capture_output=True,
        text=True,
        check=False,
    )
