"""A ComfyUI on this host: finding it, its command line, our output node in it, installing it."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from infra.supervisor.errors import HostError
from infra.supervisor.host import Host

REPOSITORY = "https://github.com/comfyanonymous/ComfyUI"
PINNED_TAG = "v0.38.1"
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, either under WSL
NODE_PACK = "easel_nodes"
MODEL_FOLDERS = (
    *("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "controlnet"),
    *("model_patches", "upscale_models", "geometry_estimation"),
)


def is_installed(host: Host) -> bool:
    """Whether COMFYUI_DIR holds a ComfyUI."""
    return (host.comfyui_dir / "main.py").is_file()


def engine(host: Host) -> str:
    """Which engine draws: `external` (COMFYUI_URL), `comfyui` (COMFYUI_DIR) or `sketch`."""
    if host.settings.get("COMFYUI_URL", "").strip():
        return "external"
    return "comfyui" if is_installed(host) else "sketch"


def engine_sentence(host: Host) -> str:
    """The same for people; for sketches also how to connect a ComfyUI."""
    if engine(host) == "external":
        return f"Pictures come from the ComfyUI at {host.settings['COMFYUI_URL']}."
    if engine(host) == "comfyui":
        return f"Pictures come from ComfyUI {version(host)} in {host.comfyui_dir}."
    return (
        "Pictures are SKETCHES, drawn by the built-in engine without an AI model.\n"
        "To connect a ComfyUI: set COMFYUI_URL to one that runs, or COMFYUI_DIR to where one is\n"
        "installed (./startup.sh install-comfyui installs one), then ./startup.sh restart."
    )


def version(host: Host) -> str:
    """Its version as it states it; "unknown" when it does not."""
    try:
        text = (host.comfyui_dir / "comfyui_version.py").read_text()
    except OSError:
        return "unknown"
    found = re.search(r'__version__\s*=\s*"([^"]+)"', text)
    return found[1] if found else "unknown"


def python(host: Host) -> str:
    """The interpreter ComfyUI was installed for: `COMFYUI_PYTHON`, its own venv, or the system's.

    Never our own virtual environment, which has no torch.
    """
    chosen = host.settings.get("COMFYUI_PYTHON", "").strip()
    own = (host.comfyui_dir / name / "bin" / "python" for name in (".venv", "venv"))
    found = [chosen] if chosen else [str(path) for path in own if path.is_file()]
    return found[0] if found else getattr(sys, "_base_executable", sys.executable)


def command(host: Host, port: int) -> tuple[str, ...]:
    """The command line: loopback only, our folders, nobody's custom nodes but ours.

    Options that this version's `--help` would not list are left out; those in `COMFYUI_ARGS`
    (as in a shell: `--lowvram`) come last.
    """
    state = host.data_dir / "comfyui"
    wanted: list[tuple[str, ...]] = [
        ("--listen", "127.0.0.1"),
        ("--port", str(port)),
        ("--disable-auto-launch",),
        ("--extra-model-paths-config", str(host.run_dir / "comfyui_models.yaml")),
        *((f"--{name}-directory", str(state / name)) for name in ("output", "input", "user")),
        ("--temp-directory", str(state)),  # ComfyUI adds its own "temp"
        ("--preview-method", "latent2rgb"),  # the server's default is none at all
        ("--log-stdout",),
        ("--disable-metadata",),
        ("--disable-all-custom-nodes",),
        ("--whitelist-custom-nodes", NODE_PACK),
    ]
    known = _options(host)
    wanted.append(("--offline",) if "--offline" in known else ("--disable-api-nodes",))
    if "--whitelist-custom-nodes" not in known:
        wanted.remove(("--disable-all-custom-nodes",))
    if not any(Path(device).exists() for device in GPU_DEVICES):
        wanted.append(("--cpu",))
    flags = [part for option in wanted if option[0] in known for part in option]
    flags += _further_options(host)
    return (python(host), str(host.comfyui_dir / "main.py"), *flags)


def _further_options(host: Host) -> list[str]:
    text = host.settings.get("COMFYUI_ARGS", "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise HostError(
            f"COMFYUI_ARGS is {text!r}: {error}. Write options as in a shell, each quote closed."
        ) from error


def prepare(host: Host) -> None:
    """For a ComfyUI of ours, write what its command line names and give it our output node."""
    if engine(host) != "comfyui":
        return
    for folder in ("output", "input", "user"):
        (host.data_dir / "comfyui" / folder).mkdir(parents=True, exist_ok=True)
    for folder in MODEL_FOLDERS:
        (host.models_dir / folder).mkdir(parents=True, exist_ok=True)
    folders = {name: name for name in MODEL_FOLDERS}
    paths = {"easel": {"base_path": str(host.models_dir), "is_default": True, **folders}}
    (host.run_dir / "comfyui_models.yaml").write_text(json.dumps(paths))  # JSON is YAML
    link_nodes(host)


def link_nodes(host: Host) -> None:
    """Link our node pack into `custom_nodes`, or copy it where links are not possible."""
    pack = host.root / "gpu_server" / "comfyui_nodes"
    place = host.comfyui_dir / "custom_nodes" / NODE_PACK
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
            f"Our output node cannot be put into {place}: {error}. Make that folder writable."
        ) from error


def install(host: Host) -> None:
    """Clone the pinned ComfyUI into COMFYUI_DIR and install what it needs beside it.

    Raises `HostError` when something is in the way or the network does not allow it.
    """
    target = host.comfyui_dir
    if is_installed(host):
        print(f"ComfyUI {version(host)} is already in {target}.")
        return
    if target.exists() and any(target.iterdir()):
        raise HostError(f"{target} is not empty and holds no ComfyUI. Empty it or set COMFYUI_DIR.")
    if shutil.which("git") is None:
        raise HostError("git is not installed; ComfyUI is fetched with it.")
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _run("git", "clone", "--depth", "1", "--branch", PINNED_TAG, REPOSITORY, str(partial))
    _run(getattr(sys, "_base_executable", sys.executable), "-m", "venv", str(partial / ".venv"))
    pip = (str(partial / ".venv" / "bin" / "python"), "-m", "pip", "install", "--no-input")
    _run(*pip, "-r", str(partial / "requirements.txt"))
    if target.exists():
        target.rmdir()
    partial.rename(target)
    print(f"ComfyUI {PINNED_TAG} is in {target}. Next: ./startup.sh restart")


def _run(*argv: str) -> None:
    print("+", *argv, flush=True)
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # fail instead of asking
    try:
        subprocess.run(argv, check=True, env=environment)  # noqa: S603
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(
            f"ComfyUI cannot be installed here: {argv[0]} {argv[1]} failed. This needs the network "
            f"to reach {REPOSITORY} and a package index; otherwise install ComfyUI yourself and "
            "set COMFYUI_DIR, or set COMFYUI_URL to one that runs elsewhere."
        ) from error


def _options(host: Host) -> set[str]:
    """The options of this version, read where `--help` gets them (running it takes seconds)."""
    try:
        text = (host.comfyui_dir / "comfy" / "cli_args.py").read_text()
    except OSError as error:
        raise HostError(
            f"{host.comfyui_dir} is no whole ComfyUI: {error}. Install it again or set COMFYUI_DIR."
        ) from error
    return set(re.findall(r'"(--[a-z0-9-]+)"', text))
