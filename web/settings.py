"""Settings of a service, from the environment and its `.env` file; a bad one is one sentence."""

import difflib
import ipaddress
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from web.env_file import EnvFileError, read_env_file
from web.same_origin import is_loopback
from workflows.catalog import Catalog, OwnCheckpoint
from workflows.catalog import load as load_modes
from workflows.live import LiveCatalog

S = TypeVar("S", bound="ServiceSettings")

POD = Path("/workspace")


def on_pod() -> bool:
    """Tell whether this host is a rented pod: whether a pod's volume is mounted and writable."""
    return POD.is_dir() and os.access(POD, os.W_OK)


def data_dir() -> Path:
    return POD / "easel-data" if on_pod() else Path("data")


class SettingsError(ValueError):
    """A setting is unknown or invalid; the message names it and says what is allowed."""


class ServiceSettings(BaseSettings):
    """Base of each service's settings. A variable is its field's name in capitals."""

    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, env_ignore_empty=True, allow_inf_nan=False
    )

    @classmethod
    def own_prefix(cls) -> str:
        """Return the prefix of this service's variables: an unknown one is a spelling mistake."""
        raise NotImplementedError

    @field_validator("*")
    @classmethod
    def _makes_sense(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what no setting of its kind can mean: a path, a secret, an address."""
        if isinstance(value, Path):
            return expanded(value)
        if isinstance(value, SecretStr) and not _PRINTABLE.fullmatch(value.get_secret_value()):
            raise ValueError("it must be of printable ASCII characters without blanks")
        if isinstance(value, str) and (info.field_name or "").endswith("_host"):
            require_host(value)
        return value


_PRINTABLE = re.compile(r"[!-~]*")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


def expanded(path: Path) -> Path:
    """Return a path with `~` as the home folder. Raises ValueError for an unknown user's."""
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError(f"{path} names the home folder of a user who does not exist") from error


def require_host(value: str) -> None:
    """Raise ValueError unless a value is an IP address or a host name, without a port."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not _HOST_NAME.fullmatch(value):
            raise ValueError(
                "it must be an IP address or a host name, without http:// and without a port"
            ) from None


def base_url(value: str, *, path: bool = True, user: bool = False) -> str:
    """Return an HTTP address without a slash at its end; raise ValueError when it is none.

    `path` and `user` say whether it may have a path, and a user's name with a password.
    """
    url = value.strip().rstrip("/")
    if not url:
        return ""
    if re.search(r"\s", url):
        raise ValueError("an address has no blanks; separate several with commas")
    if not url.startswith(("http://", "https://")):
        raise ValueError("an address must begin with http:// or https://")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the port of an address is a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("the port of an address is a number from 1 to 65535")
    if not parts.hostname:
        raise ValueError("an address must name a host, as http://host:port does")
    if "@" in parts.netloc and not user:
        raise ValueError("an address must not hold a user's name or a password")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("an address must not have a ? or #")
    if parts.path and not path:
        raise ValueError("an origin is scheme, host and port only, such as https://example.org")
    return url


class PlatformSettings(ServiceSettings):
    """Settings that backend and GPU server share: the data directory, the modes, the checkpoint."""

    easel_data_dir: Path = Field(default_factory=data_dir)
    easel_workflows_dir: Path | None = None
    easel_checkpoint: str = ""
    easel_controlnet: str = ""
    easel_checkpoint_size: int = Field(1024, ge=256, le=2048)

    def load_catalog(self) -> Catalog:
        """Load the catalogue as this platform serves it; faults are in it."""
        if not self.easel_checkpoint:
            return load_modes(*self._workflows_dirs)
        controlnet, base = self.easel_controlnet, self.easel_checkpoint_size
        own = OwnCheckpoint(self.easel_checkpoint, controlnet, base)
        return load_modes(*self._workflows_dirs, own=own)

    def live_catalog(self) -> LiveCatalog:
        """Load the same, to be kept as the folders have it."""
        return LiveCatalog(self.load_catalog, *self._workflows_dirs)

    @property
    def _workflows_dirs(self) -> list[Path]:
        return [self.easel_workflows_dir] if self.easel_workflows_dir else []


def load(kind: type[S], env_file: Path) -> S:
    """Load a service's settings; the environment wins over `env_file`. Raises SettingsError."""
    try:
        variables = {**read_env_file(env_file), **os.environ}
    except EnvFileError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"{env_file} cannot be read: {error.strerror}") from error
    known = {name.upper() for name in kind.model_fields}
    for name in variables:
        if name.startswith(kind.own_prefix()) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} is not a setting{hint}")
    try:
        return kind(
            _env_file=env_file if env_file.is_file() else None, _env_file_encoding="utf-8-sig"
        )
    except ValidationError as error:
        raise SettingsError(_sentence(error)) from error


def load_or_exit(kind: type[S], env_file: Path) -> S:
    """Load settings in an entry point: on an error print its sentence and exit with 2."""
    try:
        return load(kind, env_file)
    except SettingsError as error:
        stop(error)


def stop(error: Exception) -> NoReturn:
    """End the process with exit code 2 and the error's sentence."""
    sys.stderr.write(f"error: {error}\n")
    sys.exit(2)


def _sentence(error: ValidationError) -> str:
    parts = []
    for fault in error.errors(include_url=False, include_input=False):
        name = str(fault["loc"][0]).upper() if fault["loc"] else ""
        message = str(fault["msg"]).removeprefix("Value error, ")
        parts.append(f"{name}: {message}".removeprefix(": "))
    return "; ".join(parts)


def without_password(url: str) -> str:
    """Return a URL as it may be shown and logged."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def require_secret_off_loopback(host: str, secret: Any, host_name: str, secret_name: str) -> None:
    """Raise ValueError when a service without a secret would be open to the network."""
    if not secret and not is_loopback(host):
        raise ValueError(
            f"{host_name} is {host}, which others can reach, but {secret_name} is empty; "
            f"set {secret_name} or leave {host_name} at 127.0.0.1"
        )
