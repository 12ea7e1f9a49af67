"""Start the local Telegram on loopback: `python -m telegram_bot.local`."""

import socket
from types import FrameType

import structlog
import uvicorn

from telegram_bot.local.app import create_app
from telegram_bot.local.settings import ENV_FILE, LocalTelegramSettings
from telegram_bot.local.state.world import World
from web import logs, server
from web.settings import load_or_exit, stop

_SHUTDOWN_S = 3
"""How long to wait for open requests before the server stops."""
_BACKLOG = 2048


class Server(uvicorn.Server):
    """End open streams and polls first, so that the server stops at once."""

    def __init__(self, config: uvicorn.Config, world: World) -> None:
        super().__init__(config)
        self._world = world

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._world.close()
        super().handle_exit(sig, frame)


def bind(settings: LocalTelegramSettings) -> socket.socket:
    """Open the listening socket. Raises ValueError when the port cannot be used."""
    address = (settings.local_telegram_host, settings.local_telegram_port)
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ValueError(
            f"{error.strerror}; stop the program that listens there, or set LOCAL_TELEGRAM_PORT"
        ) from None
    # Connections inherit it; asyncio alone would leave Nagle's delay on (40 ms a call).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def main() -> None:
    settings = load_or_exit(LocalTelegramSettings, ENV_FILE)
    try:
        listener = bind(settings)
    except ValueError as error:
        stop(error)
    logs.configure("local_telegram")
    app = create_app(settings)
    config = server.configuration(app, log_level="warning", timeout_graceful_shutdown=_SHUTDOWN_S)
    host = settings.local_telegram_host
    address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    structlog.get_logger().info("listening", address=address)
    Server(config, app.state.world).run([listener])


if __name__ == "__main__":
    main()
