"""Settings of the bot; `.env.template` beside this file describes each."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from web.same_origin import is_loopback
from web.settings import ServiceSettings, base_url, data_dir

ENV_FILE = Path(__file__).with_name(".env")
TELEGRAM = "https://api.telegram.org/bot"
LOCAL_TOKEN = "7000000001:the-local-telegram-takes-any-token"  # noqa: S105 - no secret
"""The token for the local Telegram, which accepts every well-formed one."""

_TOKEN = re.compile(r"\d{3,17}:[A-Za-z0-9_-]{3,}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{16,256}")


class Settings(ServiceSettings):
    bot_token: SecretStr = SecretStr("")
    bot_backend_url: str = "http://127.0.0.1:8000"
    bot_backend_key: SecretStr = SecretStr("")
    bot_allowed_users: Annotated[frozenset[int], NoDecode] = frozenset()
    bot_admins: Annotated[frozenset[int], NoDecode] = frozenset()
    bot_webhook_url: str = ""
    bot_webhook_secret: SecretStr = SecretStr("")
    bot_webhook_host: str = "127.0.0.1"
    bot_webhook_port: int = Field(8443, ge=1, le=65535)
    bot_api_base_url: str = ""
    bot_metrics_port: int = Field(8090, ge=0, le=65535)
    bot_api_timeout_s: float = Field(20, ge=1, le=120)
    bot_retention_days: int = Field(7, ge=1, le=3650)
    bot_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    local_telegram_port: int = Field(8081, ge=0, le=65535)
    easel_data_dir: Path = Field(default_factory=data_dir)

    @classmethod
    def own_prefix(cls) -> str:
        return "BOT_"

    @property
    def local(self) -> bool:
        """Whether there is no token: the bot then talks to the local Telegram."""
        return not self.bot_token.get_secret_value()

    @property
    def token(self) -> str:
        return self.bot_token.get_secret_value() or LOCAL_TOKEN

    @property
    def bot_id(self) -> int:
        return int(self.token.partition(":")[0])

    @property
    def api_url(self) -> str:
        """Base URL of the Bot API, ending in `/bot`."""
        if self.bot_api_base_url:
            return self.bot_api_base_url
        return f"http://127.0.0.1:{self.local_telegram_port}/bot" if self.local else TELEGRAM

    @property
    def database(self) -> Path:
        """One file per bot: chats and message ids mean nothing to another."""
        return self.easel_data_dir / "telegram_bot" / f"{self.bot_id}.sqlite3"

    @field_validator("bot_allowed_users", "bot_admins", mode="before")
    @classmethod
    def _ids(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = [part.strip() for part in value.split(",") if part.strip()]
        for part in parts:
            if not re.fullmatch(r"-?[1-9][0-9]{0,15}", part):
                raise ValueError(f"'{part[:40]}' is not a Telegram id; give numbers and commas")
        if not parts:  # a lone comma must not admit everybody
            raise ValueError("no Telegram id is in it; give numbers and commas, or leave it empty")
        return frozenset(int(part) for part in parts)

    @field_validator("bot_token")
    @classmethod
    def _looks_like_a_token(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and not _TOKEN.fullmatch(token):
            raise ValueError("it is not a bot's token; @BotFather gives one like 123456:ABC-def")
        return value

    @field_validator("bot_backend_url", "bot_api_base_url", "bot_webhook_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return base_url(value)

    @field_validator("bot_api_base_url")
    @classmethod
    def _ends_in_bot(cls, value: str) -> str:
        if value and not value.endswith("/bot"):
            raise ValueError("it must end in /bot, such as http://127.0.0.1:8081/bot")
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.local and not is_loopback(urlsplit(self.api_url).hostname or ""):
            raise ValueError("BOT_TOKEN is empty, but BOT_API_BASE_URL is not on this machine")
        secret = self.bot_webhook_secret.get_secret_value()
        if self.bot_webhook_url and not _SECRET.fullmatch(secret):
            raise ValueError(
                "BOT_WEBHOOK_URL needs BOT_WEBHOOK_SECRET: 16 to 256 of A-Z a-z 0-9 _ -"
            )
        return self
