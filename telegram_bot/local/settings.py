"""Settings of the local Telegram, read from `LOCAL_TELEGRAM_*` variables."""

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "LOCAL_TELEGRAM_"


class LocalTelegramSettings(BaseSettings):
    """`hooks`: commands by label, offered as buttons; `files_mb`: memory for photos and files."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=Path(__file__).parents[1] / ".env",
        extra="ignore",
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    port: int = Field(8081, ge=0, le=65535)
    hooks: dict[str, str] = Field(default_factory=dict)
    flood_limits: bool = False
    files_mb: int = Field(256, ge=64, le=8192)
    query_lifetime_s: float = Field(30, gt=0, le=3600)

    @field_validator("host")
    @classmethod
    def _loopback(cls, host: str) -> str:
        try:
            loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if not loopback:
            raise ValueError("it binds to loopback only (127.0.0.1, ::1 or localhost)")
        return host
