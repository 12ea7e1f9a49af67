"""Settings of the local Telegram, read from `LOCAL_TELEGRAM_*` variables."""

from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, Json

from web.settings import ServiceSettings

ENV_FILE = Path(__file__).parents[1] / ".env"
Loopback = Literal["127.0.0.1", "::1", "localhost"]
LOOPBACK: frozenset[str] = frozenset(get_args(Loopback))


class LocalTelegramSettings(ServiceSettings):
    """`…hooks`: commands by label, offered as buttons; `…files_mb`: memory for photos and files."""

    local_telegram_host: Loopback = "127.0.0.1"
    local_telegram_port: int = Field(8081, ge=0, le=65535)
    local_telegram_hooks: Json[dict[str, str]] = Field(default_factory=dict, validate_default=False)
    local_telegram_flood_limits: bool = False
    local_telegram_files_mb: int = Field(256, ge=64, le=8192)
    local_telegram_query_lifetime_s: float = Field(30, gt=0, le=3600)

    @classmethod
    def own_prefix(cls) -> str:
        return "LOCAL_TELEGRAM_"
