"""Several pods in one process: `python -m tests.backend.farm DIR GPU_PORT:ENGINE_PORT …`.

Each is a real GPU server with a real sketch engine, on ports of their own; `:ENGINE_PORT` is an
engine alone. The engines write down which prompts they were asked to draw in `DIR/*/prompts`.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gpu_server import server, sketch
from gpu_server.settings import Settings
from web import logs

WORKFLOWS = Path(__file__).with_name("workflows")


class Counted:
    """Note the id of every posted prompt, in order, in a file that outlives the process."""

    def __init__(self, app: ASGIApp, notes: Path) -> None:
        self.app = app
        self.notes = notes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith("/prompt"):
            await self.app(scope, await self._noting(receive), send)
        else:
            await self.app(scope, receive, send)

    async def _noting(self, receive: Receive) -> Receive:
        message = await receive()
        body = message.get("body", b"")
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        if body:
            with self.notes.open("a") as notes:
                notes.write(json.loads(body)["prompt_id"] + "\n")
        given = False

        async def again() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        return again


def counted_engine(folder: Path, port: int) -> uvicorn.Server:
    """Return a sketch engine that can be faulty and writes down its prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    engine = sketch.create_app(
        folder / "engine", {"checkpoints": ["tiny.safetensors"]}, faults=True
    )
    server = sketch.create_server(engine, port=port)
    engine.state.server = server
    server.config.app = Counted(engine, folder / "prompts")
    return server


@contextlib.asynccontextmanager
async def pod(
    folder: Path, gpu_port: int, engine_port: int, **settings: object
) -> AsyncIterator[str]:
    """Run a pod in this event loop and yield its base URL."""
    given = {
        "gpu_port": gpu_port,
        "comfyui_url": f"http://127.0.0.1:{engine_port}",
        "easel_data_dir": folder,
        "easel_workflows_dir": WORKFLOWS,
        **settings,
    }
    drawing = counted_engine(folder, engine_port)
    app = server.create_app(Settings.model_validate(given))
    serving = uvicorn.Server(
        uvicorn.Config(app, port=gpu_port, log_config=None, timeout_graceful_shutdown=1)
    )
    async with asyncio.TaskGroup() as tasks:
        for one in (drawing, serving):
            one.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
            tasks.create_task(_serve(one))
        while not (drawing.started and serving.started):
            await asyncio.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{gpu_port}"
        finally:
            drawing.should_exit = serving.should_exit = True


async def _serve(one: uvicorn.Server) -> None:
    await one.serve()


async def main() -> None:
    logs.configure("farm", "WARNING")  # otherwise formatting a traceback may take a minute
    folder = Path(sys.argv[1])
    async with contextlib.AsyncExitStack() as stack:
        for number, ports in enumerate(sys.argv[2:]):
            gpu_port, _, engine_port = ports.partition(":")
            if not gpu_port:
                await counted_engine(folder / f"pod{number}", int(engine_port)).serve()
                return
            await stack.enter_async_context(
                pod(folder / f"pod{number}", int(gpu_port), int(engine_port))
            )
        print("up", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
