"""`python -m telegram_bot.local`: starts the local Telegram on loopback."""

import os
import sys
from types import FrameType

import structlog
import uvicorn
from pydantic import ValidationError
from pydantic_settings import SettingsError

from telegram_bot.local.app import create_app
from telegram_bot.local.settings import PREFIX, LocalTelegramSettings
from telegram_bot.local.world import World

_SHUTDOWN_S = 3


class Server(uvicorn.Server):
    """Ends open streams and polls first, so that stopping takes no time."""

    def __init__(self, config: uvicorn.Config, world: World) -> None:
        super().__init__(config)
        self._world = world

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._world.close()
        super().handle_exit(sig, frame)


def read_settings() -> LocalTelegramSettings:
    """Settings from the environment; raises `ValueError` with one sentence."""
    known = {f"{PREFIX}{name}".upper() for name in LocalTelegramSettings.model_fields}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            raise ValueError(f"{name} is not a setting; known: {', '.join(sorted(known))}.")
    try:
        return LocalTelegramSettings()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{first['loc'][0]}".upper()
        raise ValueError(f"{name} is not valid: {first['msg']}.") from None
    except SettingsError:
        raise ValueError(
            f"{PREFIX}HOOKS is not valid: a JSON object of commands by label is expected, "
            'like {"Restart the bot": "./startup.sh restart telegram_bot"}.'
        ) from None


def main() -> int:
    try:
        settings = read_settings()
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
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,  # its lines would hold the bot's token
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    address = f"http://{settings.host}:{settings.port}"
    structlog.get_logger(service="local_telegram").info("starting", address=address)
    Server(config, app.state.world).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
