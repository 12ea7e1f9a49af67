"""Entry point: `python -m backend`."""

import socket

import uvicorn
from fastapi import FastAPI

from backend.main import create_app
from backend.openai.models import UnknownAlias
from backend.settings import ENV_FILE, Settings
from backend.state import State
from backend.storage.database import DatabaseRefused
from gpu_server.pictures.provenance import ProvenanceError
from web import logs, server
from web.settings import load_or_exit, stop

_SHUTDOWN_TIMEOUT_S = 5


class Server(uvicorn.Server):
    """Release waiting requests before shutdown.

    Otherwise uvicorn drops them, which we would read as a client disconnect and cancel the
    generation.
    """

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._state = State.of(app)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._state.stop_scheduling()
        await super().shutdown(sockets)


def main() -> None:
    settings = load_or_exit(Settings, ENV_FILE)
    logs.configure("backend", settings.backend_log_level)
    try:
        app = create_app(settings)
    except (DatabaseRefused, ProvenanceError, UnknownAlias) as error:
        stop(error)
    config = server.configuration(
        app,
        host=settings.backend_host,
        port=settings.backend_port,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
    )
    Server(config, app).run()


if __name__ == "__main__":
    main()
