"""Real processes of the platform, to be started, killed and started again."""

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

ROOT = Path(__file__).parents[2]
WORKFLOWS = Path(__file__).with_name("workflows")
PATIENCE_S = 60.0
T = TypeVar("T")


def free_ports(number: int) -> list[int]:
    """Return ports below the system's range for outgoing connections, so that they stay free."""
    with contextlib.ExitStack() as stack:
        found: list[int] = []
        while len(found) < number:
            port = random.randrange(15_000, 32_000)
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
        return found


async def until(
    look: Callable[[], Awaitable[T | None]],
    what: str,
    seconds: float = PATIENCE_S,
    pause: float = 0.1,
) -> T:
    """Return the first true answer; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = await look()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        await asyncio.sleep(pause)


@dataclass
class Process:
    """A Python module as a process with its output in a file."""

    module: str
    arguments: list[str]
    log: Path
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                cwd=ROOT,
                env={**kept, **self.environment},
                stdout=output,
                stderr=output,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def wait(self, seconds: float) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")


def noted_prompts(folder: Path) -> list[str]:
    """Return the prompts that the engines below this folder wrote down."""
    return [one for notes in folder.glob("pod*/prompts") for one in notes.read_text().split()]


class Farm(Process):
    """Pods in one process of their own."""

    def __init__(self, folder: Path, pods: int) -> None:
        ports = free_ports(2 * pods)
        pairs = list(zip(ports[::2], ports[1::2], strict=True))
        arguments = [str(folder), *(f"{gpu}:{engine}" for gpu, engine in pairs)]
        super().__init__("tests.backend.farm", arguments, folder / "farm.log")
        self.folder = folder
        self.urls = [f"http://127.0.0.1:{gpu}" for gpu, _ in pairs]
        self.engines = [f"http://127.0.0.1:{engine}" for _, engine in pairs]

    async def fault(self, fault: str, **options: Any) -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            for engine in self.engines:
                answer = await http.post(
                    f"{engine}/sketch/faults", json={"fault": fault, **options}
                )
                answer.raise_for_status()

    async def clear(self) -> None:
        async with httpx.AsyncClient(timeout=30) as http:
            for engine in self.engines:
                await http.delete(f"{engine}/sketch/faults")

    def prompts(self) -> list[str]:
        """Return the ids of all prompts these engines were ever asked to draw."""
        return noted_prompts(self.folder)

    async def up(self) -> None:
        async with httpx.AsyncClient(timeout=30) as http:

            async def ready() -> bool:
                try:
                    return all(
                        [(await http.get(f"{url}/readyz")).status_code == 200 for url in self.urls]
                    )
                except httpx.HTTPError:
                    return False

            await until(ready, f"the pods\n{self.output()[-2000:]}")


class Backend(Process):
    """`python -m backend` on a port of its own."""

    def __init__(self, folder: Path, pods: list[str], **settings: Any) -> None:
        (port,) = free_ports(1)
        given = {
            "backend_port": port,
            "backend_gpu_servers": ",".join(pods),
            "backend_max_queue": 100_000,
            "backend_user_max_active": 100_000,
            "backend_rate_per_minute": 0,
            "easel_data_dir": folder,
            "easel_workflows_dir": WORKFLOWS,
            **settings,
        }
        environment = {name.upper(): str(value) for name, value in given.items()}
        super().__init__("backend", [], folder / "backend.log", environment)
        self.url = f"http://127.0.0.1:{port}"

    def wait_up(self, path: str = "/readyz") -> None:
        """Wait like `up`, where no event loop runs."""

        async def wait() -> None:
            async with httpx.AsyncClient(timeout=30) as http:
                await self.up(http, path)

        asyncio.run(wait())

    async def up(self, http: httpx.AsyncClient, path: str = "/readyz") -> None:
        async def ready() -> bool:
            assert self.running, self.output()[-3000:]
            try:
                return (await http.get(f"{self.url}{path}")).status_code == 200
            except httpx.HTTPError:
                return False

        await until(ready, "the backend", pause=0.05)


@contextlib.asynccontextmanager
async def started(*processes: Process) -> AsyncIterator[None]:
    """Start the processes; kill them at the end."""
    try:
        for process in processes:
            process.start()
        yield
    finally:
        for process in processes:
            if process.running:
                process.send(signal.SIGCONT)
            process.kill()


async def states(http: httpx.AsyncClient, url: str) -> dict[str, dict[str, Any]]:
    """Return every generation the backend knows, by id."""
    found: dict[str, dict[str, Any]] = {}
    cursor = ""
    while True:
        params = {"limit": "100"} | ({"cursor": cursor} if cursor else {})
        page = json.loads((await http.get(f"{url}/generations", params=params)).content)
        found |= {one["id"]: one for one in page["generations"]}
        cursor = page["next_cursor"]
        if not cursor:
            return found
