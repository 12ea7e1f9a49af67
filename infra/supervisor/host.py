"""This host: where its state lives and what its settings are.

Settings come, in this order, from the environment, the checkout's `.env`, the pod's `.env`, the
environment the pod was created with (its first process has it, a shell over SSH does not), and
the `.env` of each service. No file is ever run as shell.
"""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from web.env_file import EnvFileError, read_env_file

SHARED_PREFIXES = ("EASEL_", "COMFYUI_")
FILE_PREFIXES = (*SHARED_PREFIXES, "HF_TOKEN", "HF_ENDPOINT", "CIVITAI_TOKEN")
HOST_SETTINGS = frozenset(
    [
        *("EASEL_SERVICES", "EASEL_DATA_DIR", "EASEL_LOG_DIR", "EASEL_RUN_DIR"),
        *("EASEL_CHECKPOINT", "EASEL_CONTROLNET", "EASEL_CHECKPOINT_SIZE", "EASEL_WORKFLOWS_DIR"),
        *("COMFYUI_URL", "COMFYUI_DIR", "COMFYUI_PORT", "COMFYUI_PYTHON", "COMFYUI_ARGS"),
        "COMFYUI_CUSTOM_NODES",
        *("EASEL_MODELS_FILE", "HF_TOKEN", "HF_ENDPOINT", "CIVITAI_TOKEN"),
    ]
)
"""What a host's `.env` may hold; its template describes each."""
_POD_DIR = Path("/workspace")
_SERVICE_FOLDERS = ("telegram_bot", "gpu_server", "backend")
_SERVICE_PREFIXES = {
    "BACKEND_": "backend/.env",
    "GPU_": "gpu_server/.env",
    "BOT_": "telegram_bot/.env",
    "LOCAL_TELEGRAM_": "telegram_bot/.env",
}
"""Prefix → the file for settings of one service alone, so that no other holds its secrets."""
SETTINGS = (*FILE_PREFIXES, *_SERVICE_PREFIXES)
"""How the names of settings begin."""
LAUNCHERS_OWN = {"EASEL_SERVICES", "EASEL_SERVICE_TABLE", "EASEL_PYTHON", "EASEL_VENV"}
"""Settings that no service reads."""


class HostError(Exception):
    """Something on this host stops the command; the message says what, where and what to do."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """The directories of this host, all absolute, and its settings by name.

    `settings` are all that apply; `exported` are those among them that the launcher has to add to
    its own environment to pass them on to every service.
    """

    root: Path
    pod_dir: Path | None
    data_dir: Path
    log_dir: Path
    run_dir: Path
    models_dir: Path
    comfyui_dir: Path
    settings: Mapping[str, str]
    exported: Mapping[str, str]

    def pid_file(self, name: str) -> Path:
        return self.run_dir / f"{name}.pid"

    def log_file(self, name: str) -> Path:
        return self.log_dir / f"{name}.log"

    def setting(self, name: str) -> str:
        """Return the value of a setting without surrounding blanks; empty when it is not set."""
        return self.settings.get(name, "").strip()

    def port(self, name: str, default: int) -> int:
        """Return a TCP port from the settings; raise `HostError` when it is not a port number."""
        text = self.setting(name)
        if not text:
            return default
        if not text.isdecimal() or not 1 <= int(text) <= 65535:
            raise HostError(f"{name} is {text!r}; it must be a port number from 1 to 65535.")
        return int(text)

    def address(self, name: str) -> str:
        """Return where a client on this host reaches a service bound to the address in `name`."""
        bound = self.setting(name)
        return "127.0.0.1" if bound in {"", "0.0.0.0", "::", "localhost"} else bound  # noqa: S104


def read_host(root: Path, environ: Mapping[str, str], pod_dir: Path = _POD_DIR) -> Host:
    """Read the settings and lay out the directories; create nothing."""
    pod = pod_dir if pod_dir.is_dir() and os.access(pod_dir, os.W_OK) else None
    shared = [_prefixed(_read_env(root / ".env"), FILE_PREFIXES)]
    if pod is not None:
        shared.append(_prefixed(_read_env(pod / ".env"), FILE_PREFIXES))
        shared.append(_prefixed(_first_process_environment(), SETTINGS))
    exported: dict[str, str] = {}
    for source in shared:
        for name, value in source.items():
            if name not in environ:
                exported.setdefault(name, value)
    settings: dict[str, str] = {}
    for service in _SERVICE_FOLDERS:
        settings |= _read_env(root / service / ".env")
    settings |= {**exported, **environ}
    state = pod or root / "data"
    data_dir = _directory(settings, "EASEL_DATA_DIR", root, pod / "easel-data" if pod else state)
    return Host(
        root=root,
        pod_dir=pod,
        data_dir=data_dir,
        log_dir=_directory(settings, "EASEL_LOG_DIR", root, state / "logs"),
        # Resolved, so that releases that share a data folder find the same supervisor.
        run_dir=_directory(settings, "EASEL_RUN_DIR", root, root / "data" / "run").resolve(),
        models_dir=_directory(settings, "GPU_MODELS_DIR", root, state / "models"),
        comfyui_dir=_directory(settings, "COMFYUI_DIR", root, _POD_DIR / "ComfyUI"),
        settings=settings,
        exported=exported,
    )


def env_files(host: Host) -> list[Path]:
    """Return the `.env` files of this host that exist."""
    places = [host.root, *(host.root / name for name in _SERVICE_FOLDERS)]
    files = [place / ".env" for place in (*places, *([host.pod_dir] if host.pod_dir else []))]
    return [file for file in files if file.is_file()]


def unread_settings(host: Host) -> list[str]:
    """Return a sentence for each name in the host's `.env` files that nothing reads there."""
    files = [host.root / ".env", *([host.pod_dir / ".env"] if host.pod_dir else [])]
    return [
        f"{name} in {file} {_why_unread(name)}."
        for file in files
        for name in _prefixed(_read_env(file), SETTINGS)
        if name not in HOST_SETTINGS
    ]


def _why_unread(name: str) -> str:
    for prefix, place in _SERVICE_PREFIXES.items():
        if name.startswith(prefix):
            return f"is not read there; move it to {place}"
    if name in ("EASEL_PYTHON", "EASEL_VENV"):
        return "is not read there; set it in the environment"
    near = difflib.get_close_matches(name, HOST_SETTINGS, n=1)
    return f"is not a setting; the nearest is {near[0]}" if near else "is not a setting"


def _read_env(path: Path) -> dict[str, str]:
    try:
        return read_env_file(path)
    except OSError as error:
        raise HostError(
            f"{path} cannot be read: {error.strerror}. Make the user who runs Easel its owner "
            "(chown) and let nobody else read it (chmod 600)."
        ) from error
    except EnvFileError as error:
        raise HostError(f"{error}. Write each setting as NAME=value on one line.") from error


def _first_process_environment() -> dict[str, str]:
    try:
        entries = Path("/proc/1/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def _prefixed(values: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name.startswith(prefixes)}


def _directory(settings: Mapping[str, str], name: str, root: Path, default: Path) -> Path:
    chosen = settings.get(name, "").strip()
    try:
        return (root / Path(chosen).expanduser()).absolute() if chosen else default.absolute()
    except RuntimeError as error:
        raise HostError(f"{name} names the home folder of a user who does not exist.") from error
