"""ComfyUI on this host: find it, install it, its command line, and Easel's output node in it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from infra.supervisor.host import Host, HostError
from workflows import folders
from workflows.folders import MODEL_FOLDERS

_REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"
_PINNED_TAG = "v0.38.1"
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either under WSL
_NODE_PACK = "easel_nodes"
_STATE_FOLDERS = ("output", "input", "user")


def is_installed(host: Host) -> bool:
    return (host.comfyui_dir / "main.py").is_file()


def engine(host: Host) -> Literal["external", "comfyui", "sketch"]:
    """Return which engine draws: COMFYUI_URL's, COMFYUI_DIR's, or the built-in sketch engine."""
    if host.setting("COMFYUI_URL"):
        return "external"
    return "comfyui" if is_installed(host) else "sketch"


def engine_sentence(host: Host) -> str:
    """Say for people which engine draws; for sketches also how to connect a ComfyUI."""
    if engine(host) == "external":
        return f"Pictures come from the ComfyUI at {host.setting('COMFYUI_URL')}."
    if engine(host) == "comfyui":
        return f"Pictures come from ComfyUI {version(host)} in {host.comfyui_dir}."
    return (
        "Pictures are SKETCHES, drawn by the built-in engine without an AI model.\n"
        "To connect a ComfyUI: set COMFYUI_URL to one that runs, or COMFYUI_DIR to where one is\n"
        "installed (./startup.sh install-comfyui installs one), then ./startup.sh restart."
    )


def version(host: Host) -> str:
    """Return its version as it states it; "unknown" when it does not."""
    try:
        text = (host.comfyui_dir / "comfyui_version.py").read_text()
    except OSError:
        return "unknown"
    match = re.search(r'__version__\s*=\s*"([^"]+)"', text)
    return match[1] if match else "unknown"


def _python(host: Host) -> str:
    """Return ComfyUI's interpreter: `COMFYUI_PYTHON`, that of its own venv, or the system's.

    Never that of Easel's virtual environment, which has no torch.
    """
    if chosen := host.setting("COMFYUI_PYTHON"):
        return chosen
    own = (host.comfyui_dir / name / "bin" / "python" for name in (".venv", "venv"))
    return next((str(path) for path in own if path.is_file()), _system_python())


def _system_python() -> str:
    return getattr(sys, "_base_executable", sys.executable)


def command(host: Host, port: int) -> tuple[str, ...]:
    """Return the command line: loopback only, Easel's folders, its node pack and those named.

    Leaves out options that this version does not know; those in `COMFYUI_ARGS` (written as in a
    shell: `--lowvram`) come last.
    """
    state = host.data_dir / "comfyui"
    wanted: list[tuple[str, ...]] = [
        ("--listen", "127.0.0.1"),
        ("--port", str(port)),
        ("--disable-auto-launch",),
        ("--extra-model-paths-config", str(_model_paths_file(host))),
        *((f"--{name}-directory", str(state / name)) for name in _STATE_FOLDERS),
        ("--temp-directory", str(state)),  # ComfyUI adds its own "temp"
        ("--preview-method", "latent2rgb"),  # without it ComfyUI makes no previews
        ("--log-stdout",),
        ("--disable-metadata",),
        ("--disable-all-custom-nodes",),
        ("--whitelist-custom-nodes", _NODE_PACK, *node_packs(host)),
    ]
    known = _options(host)
    wanted.append(("--offline",) if "--offline" in known else ("--disable-api-nodes",))
    if "--whitelist-custom-nodes" not in known:
        wanted.remove(("--disable-all-custom-nodes",))
    if not any(Path(device).exists() for device in _GPU_DEVICES):
        wanted.append(("--cpu",))
    flags = [part for option in wanted if option[0] in known for part in option]
    text = host.setting("COMFYUI_ARGS")
    try:
        further = shlex.split(text)
    except ValueError as error:
        raise HostError(
            f"COMFYUI_ARGS is {text!r}: {error}. Write options as in a shell and close each quote."
        ) from error
    return (_python(host), str(host.comfyui_dir / "main.py"), *flags, *further)


def node_packs(host: Host) -> tuple[str, ...]:
    """Return the node packs that `COMFYUI_CUSTOM_NODES` names."""
    try:
        return folders.node_packs(host.setting("COMFYUI_CUSTOM_NODES"))
    except ValueError as error:
        raise HostError(f"COMFYUI_CUSTOM_NODES: {error}.") from error


def missing_packs(host: Host) -> list[str]:
    """Return those of them that this host's ComfyUI does not have."""
    place = host.comfyui_dir / "custom_nodes"
    return [name for name in node_packs(host) if not (place / name).is_dir()]


def _model_paths_file(host: Host) -> Path:
    return host.run_dir / "comfyui_models.yaml"


def prepare(host: Host) -> None:
    """Give a ComfyUI that is started here the folders and files that `command` names."""
    if engine(host) != "comfyui":
        return
    if missing := missing_packs(host):
        raise HostError(
            f"COMFYUI_CUSTOM_NODES names {', '.join(missing)}, which is no folder in "
            f"{host.comfyui_dir / 'custom_nodes'}. Install it there or correct the setting."
        )
    for folder in _STATE_FOLDERS:
        (host.data_dir / "comfyui" / folder).mkdir(parents=True, exist_ok=True)
    for folder in MODEL_FOLDERS:
        (host.models_dir / folder).mkdir(parents=True, exist_ok=True)
    named = {name: name for name in MODEL_FOLDERS}
    paths = {"easel": {"base_path": str(host.models_dir), "is_default": True, **named}}
    _model_paths_file(host).write_text(json.dumps(paths))  # JSON is YAML
    link_nodes(host)


def link_nodes(host: Host) -> None:
    """Link Easel's node pack into `custom_nodes`, or copy it where links are not possible."""
    pack = host.root / "gpu_server" / "comfyui_nodes"
    place = host.comfyui_dir / "custom_nodes" / _NODE_PACK
    if not pack.is_dir() or (place.is_symlink() and place.resolve() == pack.resolve()):
        return
    try:
        place.parent.mkdir(exist_ok=True)
        if place.is_symlink():
            place.unlink()
        elif place.is_dir():
            shutil.rmtree(place)
        try:
            place.symlink_to(pack)
        except OSError:
            shutil.copytree(pack, place)
    except OSError as error:
        raise HostError(
            f"Easel's output node cannot be put into {place}: {error}. Make that folder writable."
        ) from error


def install(host: Host) -> None:
    """Clone the pinned ComfyUI into COMFYUI_DIR, with a virtual environment of its own."""
    target = host.comfyui_dir
    if is_installed(host):
        print(f"ComfyUI {version(host)} is already in {target}.")
        return
    if target.exists() and any(target.iterdir()):
        raise HostError(f"{target} is not empty and holds no ComfyUI. Empty it or set COMFYUI_DIR.")
    if shutil.which("git") is None:
        raise HostError("git is not installed, and ComfyUI is fetched with it. Install git.")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _run("git", "clone", "--depth", "1", "--branch", _PINNED_TAG, _REPOSITORY, str(partial))
    _run(_system_python(), "-m", "venv", str(partial / ".venv"))
    pip = (str(partial / ".venv" / "bin" / "python"), "-m", "pip", "install", "--no-input")
    _run(*pip, "-r", str(partial / "requirements.txt"))
    if target.exists():
        target.rmdir()
    partial.rename(target)
    print(f"ComfyUI {_PINNED_TAG} is in {target}. Next: ./startup.sh restart")


def _run(*argv: str) -> None:
    print("+", *argv, flush=True)
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # fail instead of asking
    try:
        subprocess.run(argv, check=True, env=environment)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(
            f"ComfyUI cannot be installed here: {argv[0]} {argv[1]} failed. The network must reach "
            f"{_REPOSITORY} and a package index. Otherwise install ComfyUI yourself and set "
            "COMFYUI_DIR, or set COMFYUI_URL to one that runs elsewhere."
        ) from error


def _options(host: Host) -> set[str]:
    """Read this version's options where `--help` gets them; running that takes seconds."""
    try:
        text = (host.comfyui_dir / "comfy" / "cli_args.py").read_text()
    except OSError as error:
        raise HostError(
            f"{host.comfyui_dir} holds an incomplete ComfyUI: {error}. Install it again or set "
            "COMFYUI_DIR."
        ) from error
    return set(re.findall(r'"(--[a-z0-9-]+)"', text))
