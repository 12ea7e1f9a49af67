"""The measured processes, each on a free port, and the CPU and memory they use."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.harness.comfy import WORKFLOWS
from tests.backend.processes import Backend, Process, free_ports, started, until


class Engine(Process):
    """The sketch engine."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        arguments = ["--port", str(port), "--base-dir", str(folder / "engine")]
        super().__init__("gpu_server.sketch", arguments, folder / "engine.log")
        self.url = f"http://127.0.0.1:{port}"


class GpuServer(Process):
    """A GPU server with the graphs in `bench/workflows`."""

    def __init__(self, folder: Path, engine_url: str) -> None:
        (port,) = free_ports(1)
        settings = {
            "GPU_PORT": str(port),
            "COMFYUI_URL": engine_url,
            "EASEL_DATA_DIR": str(folder),
            "EASEL_WORKFLOWS_DIR": str(WORKFLOWS),
        }
        super().__init__("gpu_server", [], folder / "gpu.log", settings)
        self.url = f"http://127.0.0.1:{port}"


@dataclass
class Stack:
    engine: Engine
    gpu: GpuServer
    backend: Backend


def make_stack(folder: Path) -> Stack:
    """Prepare backend, GPU server and sketch engine without starting them."""
    engine = Engine(folder)
    gpu = GpuServer(folder, engine.url)
    return Stack(engine, gpu, Backend(folder, [gpu.url], easel_workflows_dir=WORKFLOWS))


@contextlib.asynccontextmanager
async def running_stack(folder: Path) -> AsyncIterator[Stack]:
    """Run backend, GPU server and sketch engine; enter once they are ready."""
    stack = make_stack(folder)
    async with started(stack.engine, stack.gpu, stack.backend), httpx.AsyncClient() as http:
        await stack.backend.up(http)
        yield stack


async def wait_until_served(url: str) -> None:
    """Wait until `url` answers with 200."""
    async with httpx.AsyncClient(trust_env=False) as http:

        async def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return (await http.get(url)).status_code == 200
            return False

        await until(answers, url)


def memory_mb(pid: int) -> float:
    """Return the proportional share (PSS) in MiB: what ending this process would free."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no Pss")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cpu_percent(pid: int, seconds: float) -> float:
    """Measure a process's CPU use over the next `seconds`, in percent of one core."""
    before = cpu_s(pid)
    await asyncio.sleep(seconds)
    return (cpu_s(pid) - before) / seconds * 100
