"""Real services on loopback for tests: applications on a uvicorn, and programs as processes."""

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

from gpu_server import sketch
from gpu_server.server import create_app
from gpu_server.settings import Settings
from web.server import configuration

DEADLINE_S = 60.0
ROOT = Path(__file__).parent.parent
SHIPPED_MODES = ["free", "restyle", "upscale", "cutout"]
_PORTS = 1500
_FIRST_PORT = 15_000 + _PORTS * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for something outside the test."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {DEADLINE_S:g} s")
        time.sleep(0.02)


@contextlib.contextmanager
def served(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Serve the application on a real uvicorn in a thread of its own; yield its base URL."""
    config = configuration(app, port=0, timeout_graceful_shutdown=1, **options)
    with _in_thread(uvicorn.Server(config)) as url:
        yield url


@contextlib.contextmanager
def sketch_engine(
    folder: Path, models: Mapping[str, list[str]] | None = None, *, faults: bool = False
) -> Iterator[str]:
    """Run the sketch engine with its folders below `folder`; yield its base URL."""
    app = sketch.create_app(folder, models, faults=faults)
    with _in_thread(sketch.create_server(app, port=0)) as url:
        yield url


@contextlib.contextmanager
def gpu_server(engine_url: str, folder: Path, **settings: Any) -> Iterator[str]:
    """Run a GPU server that is ready to draw with that engine; yield its base URL."""
    own = Settings(comfyui_url=engine_url, easel_data_dir=folder, **settings)
    with served(create_app(own)) as url:
        until(lambda: is_ready(url), "the GPU server is ready")
        yield url


def add_undrawable_mode(folder: Path) -> None:
    """Write a mode that can be read, but has nothing to draw without its optional photo."""
    folder.mkdir()
    (folder / "mode.toml").write_text(
        """
        default_style = "plain"
        title = "Unfit"
        parameters.image = { type = "image", title = "Photo" }
        graphs.main = { file = "graph.json", model = "none", bind = { image = "Photo.image" } }
        styles.plain = { title = "Plain", graph = "main" }
        """,
        "utf-8",
    )
    photo = {"class_type": "LoadImage", "_meta": {"title": "Photo"}, "inputs": {"image": "a.png"}}
    saved = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}
    (folder / "graph.json").write_text(json.dumps({"1": photo, "2": saved}), "utf-8")


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@contextlib.contextmanager
def _in_thread(server: uvicorn.Server) -> Iterator[str]:
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started or not thread.is_alive(), "the server listens")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(DEADLINE_S)


def files_below(folder: Path) -> list[Path]:
    """Return all files; folders may vanish meanwhile, as under a service that tidies up."""
    return [Path(where, name) for where, _, names in os.walk(folder) for name in names]


def free_port() -> int:
    """Return a port that nothing listens on, out of this test process's own share.

    The shares lie below the ports that the kernel gives to connections, so that neither another
    worker nor a client takes the port before its server does.
    """
    while True:
        port = _FIRST_PORT + random.randrange(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Program:
    """`python -m module` as a process; its output is kept in files."""

    module: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=Path)

    def __enter__(self) -> "Program":
        self._out = (self.folder / f"{self.module}.out").open("wb")
        self._err = (self.folder / f"{self.module}.err").open("wb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, *self.arguments],
            cwd=self.folder,
            env=clean_environment() | dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()
        self._err.close()

    def wait_ready(self, url: str) -> None:
        until(lambda: is_ready(url) or self._process.poll() is not None, f"{self.module} is ready")
        assert self._process.poll() is None, self.errors()

    def exit_code(self) -> int:
        """Wait for its end and return its exit code."""
        return self._process.wait(DEADLINE_S)

    def output(self) -> str:
        return (self.folder / f"{self.module}.out").read_text("utf-8")

    def errors(self) -> str:
        return (self.folder / f"{self.module}.err").read_text("utf-8")

    def log(self) -> list[dict[str, Any]]:
        """Return its log lines, each of which must be JSON."""
        return [json.loads(line) for line in self.output().splitlines()]


def clean_environment() -> dict[str, str]:
    """Return the environment without any settings of Easel."""
    prefixes = ("BACKEND_", "BOT_", "COMFYUI_", "EASEL_", "GPU_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True)
class Pod:
    """A GPU server with its sketch engine, and what both keep on disk."""

    url: str
    data: Path
    engine: Path

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=DEADLINE_S, trust_env=False)

    def left_behind(self) -> list[str]:
        """List files of jobs that are still there."""
        folders = [self.data / "gpu_server" / "jobs", self.engine / "input", self.engine / "output"]
        folders.append(self.engine / "temp")
        return [str(path) for folder in folders for path in files_below(folder)]


@contextlib.contextmanager
def pod(folder: Path) -> Iterator[Pod]:
    """Run a GPU server that draws sketches, as processes.

    Threads of servers would draw from the random numbers that Hypothesis watches.
    """
    port, engine_port = free_port(), free_port()
    found = Pod(f"http://127.0.0.1:{port}", folder / "data", folder / "comfyui")
    arguments = ("--port", str(engine_port), "--base-dir", str(found.engine))
    gpu = {"GPU_PORT": str(port), "COMFYUI_URL": f"http://127.0.0.1:{engine_port}"}
    gpu |= {"EASEL_DATA_DIR": str(found.data), "GPU_MAX_JOBS": "100"}
    with (
        Program("gpu_server.sketch", arguments, folder=folder),
        Program("gpu_server", (), gpu, folder) as server,
    ):
        server.wait_ready(found.url)
        yield found


@dataclass(frozen=True)
class Platform:
    """Engine, GPU server and backend as processes; `url` is the backend's."""

    url: str
    pod: Pod
    data: Path
    programs: Mapping[str, Program]

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=DEADLINE_S, trust_env=False)

    def left_behind(self) -> list[str]:
        """List images and photos that are still kept anywhere."""
        own = [str(path) for path in files_below(self.data / "backend" / "images")]
        return own + self.pod.left_behind()


@contextlib.contextmanager
def platform(folder: Path, gpu_token: str = "", **settings: str) -> Iterator[Platform]:
    """Run all services, ready to draw, below `folder`; `settings` are the backend's."""
    ports = {name: free_port() for name in ("engine", "gpu", "backend")}
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    pod = Pod(urls["gpu"], folder / "gpu", folder / "comfyui")
    arguments = ("--port", str(ports["engine"]), "--base-dir", str(pod.engine))
    gpu = {"GPU_PORT": str(ports["gpu"]), "COMFYUI_URL": urls["engine"], "GPU_TOKEN": gpu_token}
    gpu |= {"EASEL_DATA_DIR": str(pod.data)}
    backend = {"BACKEND_PORT": str(ports["backend"]), "BACKEND_GPU_SERVERS": urls["gpu"]}
    backend |= {"EASEL_DATA_DIR": str(folder / "backend"), "BACKEND_RATE_PER_MINUTE": "0"}
    backend |= {"BACKEND_GPU_TOKEN": gpu_token}
    with (
        Program("gpu_server.sketch", arguments, folder=folder) as engine,
        Program("gpu_server", (), gpu, folder) as gpu_server_,
        Program("backend", (), backend | settings, folder) as backend_,
    ):
        gpu_server_.wait_ready(urls["gpu"])
        backend_.wait_ready(urls["backend"])
        programs = {"engine": engine, "gpu_server": gpu_server_, "backend": backend_}
        yield Platform(urls["backend"], pod, folder / "backend", programs)
