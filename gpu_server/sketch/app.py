"""Assemble the engine as an ASGI application and as a server."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from gpu_server.sketch.engine import STOP_TIMEOUT_S, Engine
from gpu_server.sketch.folders import Folders
from gpu_server.sketch.graphs.definitions import Models, configured_models
from gpu_server.sketch.routes import connections, easel, files, info, prompts, replies
from gpu_server.sketch.routes import faults as fault_routes
from web.same_origin import LOOPBACK_ONLY, is_loopback
from web.server import configuration

# A body of an unexpected shape raises one of these; ComfyUI answers it with a 500.
_SURPRISES = (ValueError, TypeError, LookupError, AttributeError, RecursionError, OSError)


def create_app(
    base_dir: Path,
    models: Models | None = None,
    *,
    checkpoint: str = "",
    faults: bool = False,
    plain: bool = False,
) -> Starlette:
    """Build the engine as an application; it needs a real uvicorn, not a test transport.

    Args:
        base_dir: Gets the folders input, output and temp; temp is emptied at start.
        models: Names of model files by folder; by default those of `models.json`.
        checkpoint: Name of one more checkpoint to offer.
        faults: Whether to add `/sketch/faults`.
        plain: Whether to leave out what Easel's own nodes add to ComfyUI.
    """
    configured = configured_models() if models is None else models
    offered = {folder: list(names) for folder, names in configured.items()}
    if checkpoint:
        offered.setdefault("checkpoints", []).append(checkpoint)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        engine = Engine(Folders(base_dir), offered)
        if plain:
            engine.definitions.remove("EaselOutput")
        app.state.engine = engine
        async with asyncio.TaskGroup() as tasks:
            publisher = tasks.create_task(engine.sockets.publish())
            try:
                yield
            finally:
                engine.stop()
                publisher.cancel()
                await asyncio.to_thread(engine.worker.join, STOP_TIMEOUT_S)

    return Starlette(
        routes=[
            *prompts.ROUTES,
            *info.ROUTES,
            *files.ROUTES,
            *(() if plain else easel.ROUTES),
            *(fault_routes.ROUTES if faults else ()),
            WebSocketRoute("/ws", _serve_socket),
        ],
        middleware=[Middleware(_Gate)],
        exception_handlers={
            404: replies.not_found,
            405: replies.method_not_allowed,
            replies.TooLargeError: replies.too_large,
            replies.RefusedError: replies.refused,
            **dict.fromkeys(_SURPRISES, replies.internal_error),
        },
        lifespan=lifespan,
    )


class SketchServer(uvicorn.Server):
    """A uvicorn server that announces its address once it accepts connections."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[str], None]) -> None:
        super().__init__(config)
        self._announce = announce
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then set `ready`; `started` says whether that worked."""
        await super().startup(sockets)
        self.ready.set()
        if self.started:
            self._announce(
                f"Sketch engine on {self.url} - it draws without an AI model; "
                "connect a ComfyUI for real images."
            )

    @property
    def url(self) -> str:
        """The base URL, with the port actually bound."""
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def create_server(
    app: Starlette,
    host: str = "127.0.0.1",
    port: int = 8188,
    *,
    announce: Callable[[str], None] = lambda _: None,
) -> SketchServer:
    """Build a server that behaves like ComfyUI's: it sends no pings.

    `announce` gets one sentence with the address once connections are accepted.

    Raises:
        ValueError: `host` is not a loopback address. The engine has no authentication.
    """
    if not is_loopback(host):
        raise ValueError(f"The sketch engine listens on loopback only, not on {host}.")
    config = configuration(
        app,
        host=host,
        port=port,
        loop="uvloop",
        ws="websockets-sansio",
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = SketchServer(config, announce)
    app.state.server = server
    return server


@contextlib.asynccontextmanager
async def running(app: Starlette, port: int = 0) -> AsyncIterator[str]:
    """Serve an application in this event loop, on a free port by default; yield its base URL."""
    server = create_server(app, port=port)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve())
        await server.ready.wait()
        if not server.started:
            raise RuntimeError("The sketch engine did not start.")
        try:
            yield server.url
        finally:
            server.should_exit = True


async def _serve_socket(socket: WebSocket) -> None:
    engine = replies.engine_of(socket)
    await engine.sockets.serve(socket, engine.status())


class _Gate:
    """Handle what precedes every route: `/api`, foreign origins, OPTIONS, the gap of a restart."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if replies.engine_of(connection).is_down:
            connections.cut([connection])
            return
        if scope["path"].startswith("/api/"):
            scope = {**scope, "path": scope["path"].removeprefix("/api")}
        if LOOPBACK_ONLY.refusal(scope) is not None:
            await replies.empty(403)(scope, receive, send)
        elif scope.get("method") == "OPTIONS":
            await replies.empty()(scope, receive, send)
        else:
            await self._app(scope, receive, send)
