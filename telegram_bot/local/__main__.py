"""Start the local Telegram on loopback: `python -m telegram_bot.local`."""

import os
import socket
import sys
from types import FrameType

import structlog
import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from telegram_bot.local.app import create_app
from telegram_bot.local.settings import PREFIX, LocalTelegramSettings
from telegram_bot.local.state.world import World

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


def read_settings() -> LocalTelegramSettings:
    """Read the environment; raise `ValueError` with one sentence."""
    known = {f"{PREFIX}{name}".upper() for name in LocalTelegramSettings.model_fields}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            raise ValueError(f"{name} is not a setting; known: {', '.join(sorted(known))}.")
    try:
        return LocalTelegramSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{first['loc'][0]}".upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{name} is not valid: {reason}.") from None
    except SettingsError:
        raise ValueError(
            f"{PREFIX}HOOKS is not valid: a JSON object of commands by label is expected, "
            'like {"Restart the bot": "./startup.sh restart telegram_bot"}.'
        ) from None


def bind(settings: LocalTelegramSettings) -> socket.socket:
    """Open the listening socket; raise `ValueError` with one sentence."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns off Nagle's delay (40 ms a call) only if the protocol is explicit.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ValueError(
            f"Port {settings.port} of {settings.host} cannot be used ({error.strerror}): stop the "
            f"program that listens there, or set {PREFIX}PORT."
        ) from None
    return listener


def main() -> int:
    try:
        settings = read_settings()
        listener = bind(settings)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    )
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # its lines would contain the bot's token
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listener.getsockname()[1]}"
    structlog.get_logger(service="local_telegram").info("listening", address=address)
    Server(config, app.state.world).run([listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
