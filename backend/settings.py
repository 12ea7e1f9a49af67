"""Settings of the backend; `.env.template` beside this file describes each."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from obstore.exceptions import BaseError
from obstore.store import from_url
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from backend.webhooks import addresses, signing
from backend.webhooks.addresses import Addresses
from web.settings import PlatformSettings, base_url, require_host, require_secret_off_loopback

ENV_FILE = Path(__file__).with_name(".env")
_MIN_KEY_LENGTH = 16
_KEY = re.compile(rf"[!-~]{{{_MIN_KEY_LENGTH},}}")
_ALIAS = re.compile(r"[\w.:/*-]{1,100}")
_KEY_NAME = re.compile(r"[^\s:,]+")


class Settings(PlatformSettings):
    backend_host: str = "127.0.0.1"
    backend_port: int = Field(8000, ge=1, le=65535)
    backend_api_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(default={})
    backend_gpu_servers: Annotated[list[str], NoDecode] = Field(default=["http://127.0.0.1:8100"])
    backend_gpu_token: SecretStr = SecretStr("")
    backend_database_url: SecretStr = SecretStr("")
    backend_images_url: str = ""
    backend_max_queue: int = Field(1000, ge=1)
    backend_user_max_active: int = Field(4, ge=1)
    backend_user_header: str = Field("", max_length=100, pattern=r"^([A-Za-z0-9-]+)?$")
    backend_rate_per_minute: int = Field(30, ge=0)
    backend_daily_images: int = Field(0, ge=0)
    backend_result_ttl_hours: float = Field(168, gt=0, le=876_000)
    backend_generation_timeout_s: float = Field(180, gt=0, le=604_800)
    backend_no_gpu_patience_s: float = Field(1800, gt=0, le=31_536_000)
    backend_cors_origins: Annotated[list[str], NoDecode] = Field(default=[])
    backend_model_aliases: Annotated[dict[str, str], NoDecode] = Field(default={})
    backend_chat_completions: bool = True
    backend_public_url: str = ""
    backend_webhook_url: str = ""
    backend_webhook_secret: SecretStr = SecretStr("")
    backend_webhook_allow: Annotated[list[str], NoDecode] = Field(default=[])
    backend_signing_certificate: Path | None = None
    backend_signing_key: Path | None = None
    backend_advertise_url: str = ""
    backend_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def own_prefix(cls) -> str:
        return "BACKEND_"

    @property
    def database_url(self) -> str:
        """Return the URL in SQLAlchemy's form."""
        url = self.backend_database_url.get_secret_value()
        if not url:
            return f"sqlite:///{(self.easel_data_dir / 'backend' / 'easel.sqlite3').absolute()}"
        scheme, _, rest = url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme.startswith("postgres") else url

    @property
    def is_shared(self) -> bool:
        """Whether several replicas may share the database."""
        return not self.database_url.startswith("sqlite")

    @property
    def own_url(self) -> str:
        """Return where the other replicas reach this one."""
        return self.backend_advertise_url or f"http://{self.backend_host}:{self.backend_port}"

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        return signing.keys_of(self.backend_webhook_secret.get_secret_value())

    @property
    def webhook_addresses(self) -> Addresses:
        return Addresses(self.backend_webhook_allow)

    @property
    def images_url(self) -> str:
        folder = (self.easel_data_dir / "backend" / "images").absolute()
        return self.backend_images_url or folder.as_uri()

    @field_validator(
        "backend_gpu_servers", "backend_cors_origins", "backend_webhook_allow", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return [part.strip() for part in value.split(",") if part.strip()]

    @field_validator("backend_gpu_servers")
    @classmethod
    def _are_urls(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("at least one pod's base URL is needed")
        return list(dict.fromkeys(base_url(url, user=True) for url in value))

    @field_validator("backend_cors_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        """Bring origins into the form in which browsers send them."""
        origins = [url if url == "*" else base_url(url, path=False).lower() for url in value]
        ports = {"http": ":80", "https": ":443"}
        return [url.removesuffix(ports.get(url.partition(":")[0], "")) for url in origins]

    @field_validator("backend_public_url", "backend_advertise_url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        return base_url(value)

    @field_validator("backend_webhook_allow")
    @classmethod
    def _are_hosts(cls, value: list[str]) -> list[str]:
        for host in value:
            require_host(host)
        return [addresses.as_compared(host) for host in value]

    @field_validator("backend_webhook_secret")
    @classmethod
    def _signs(cls, value: SecretStr) -> SecretStr:
        signing.keys_of(value.get_secret_value())
        return value

    @field_validator("backend_images_url")
    @classmethod
    def _is_a_store(cls, value: str) -> str:
        try:
            if not value.startswith("file:///"):  # its folder is created when the store is opened
                from_url(value or "memory:///")
        except (BaseError, ValueError) as error:
            raise ValueError(
                "must be the URL of an object store, such as s3://bucket/folder, "
                "or of a folder with its whole path, such as file:///srv/images"
            ) from error
        return value

    @field_validator("backend_api_keys", mode="before")
    @classmethod
    def _named_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        keys: dict[str, str] = {}
        for part in filter(None, (part.strip() for part in value.split(","))):
            name, _, key = part.partition(":")
            name, known = name.strip(), (*keys, *keys.values())
            if not _KEY_NAME.fullmatch(name) or not _KEY.fullmatch(key) or {name, key} & {*known}:
                raise ValueError(
                    "must be name:key pairs, comma-separated, with names and keys that differ, "
                    f"each key at least {_MIN_KEY_LENGTH} printable ASCII characters without blanks"
                )
            keys[name] = key
        if not keys:
            raise ValueError("must be name:key pairs, comma-separated; there is none")
        return keys

    @field_validator("backend_model_aliases", mode="before")
    @classmethod
    def _pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [part.strip().partition("=") for part in value.split(",") if part.strip()]
        if not all(_ALIAS.fullmatch(name.strip()) and target.strip() for name, _, target in pairs):
            raise ValueError(
                "must be name=model pairs, comma-separated, such as gpt-image-*=easel-free:lux"
            )
        return {name.strip(): target.strip() for name, _, target in pairs}

    @model_validator(mode="after")
    def _check(self) -> Self:
        keys = self.backend_api_keys
        require_secret_off_loopback(self.backend_host, keys, "BACKEND_HOST", "BACKEND_API_KEYS")
        url = self.backend_database_url.get_secret_value()
        if url and not url.startswith(("postgresql://", "postgres://", "sqlite:///")):
            raise ValueError("BACKEND_DATABASE_URL must begin with postgresql:// or sqlite:///")
        if (self.backend_signing_certificate is None) != (self.backend_signing_key is None):
            raise ValueError(
                "BACKEND_SIGNING_CERTIFICATE and BACKEND_SIGNING_KEY belong together: "
                "give both or neither"
            )
        self._check_webhook()
        return self

    def _check_webhook(self) -> None:
        url = self.backend_webhook_url
        fault = self.webhook_addresses.fault_in(url) if url else None
        if fault is not None:
            raise ValueError(
                f"BACKEND_WEBHOOK_URL {fault}; it must be {addresses.ALLOWED}, "
                "or its host named in BACKEND_WEBHOOK_ALLOW"
            )
        if url and not self.webhook_keys:
            raise ValueError(
                "BACKEND_WEBHOOK_URL needs BACKEND_WEBHOOK_SECRET, which signs what is sent: "
                f"{signing.ALLOWED}"
            )
