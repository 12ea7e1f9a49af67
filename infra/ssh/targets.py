"""The configuration file: which hosts exist and how to reach each one."""

import difflib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails

from infra.ssh.errors import ConfigError, UsageError
from infra.ssh.files import expanded, read_text
from infra.ssh.openssh import OpenSshConfig
from infra.ssh.routes import Context, Direct, LocalFile, Proxy, Route, Section

_SHARED = [".env", "backend/.env", "gpu_server/.env", "telegram_bot/.env", "data/"]


_PathInsideWorkdir = Annotated[str, Field(pattern=r"^(?!/)(?!(.*/)?\.\.(/|\Z))[^\0\n]+\Z")]
_Workdir = Annotated[
    str,
    Field(pattern=r"^/[^\0\n]*[^\0\n/.][^\0\n]*\Z"),
    AfterValidator(lambda path: path.rstrip("/")),
]


class Target(Section):
    """One host: `direct` is a full SSH server, `proxy` a gateway that offers only a terminal."""

    direct: Direct | None = Field(None, description='an object with "host" and "user"')
    proxy: Proxy | None = Field(None, description='an object with "host" and "user"')
    workdir: _Workdir = Field(
        "/workspace/easel", description='an absolute path on the host, such as "/workspace/easel"'
    )
    known_hosts: LocalFile = Field(
        "known_hosts", validate_default=True, description="a file, relative to this one"
    )
    shared: list[_PathInsideWorkdir] = Field(
        _SHARED, description='a list of paths inside workdir, such as ["backend/.env", "data/"]'
    )
    keep_releases: int = Field(3, ge=2, le=100, description="a whole number from 2 to 100")
    _name: str

    def model_post_init(self, _context: object, /) -> None:
        if self.direct is None and self.proxy is None:
            raise ValueError('needs "direct", "proxy" or both')

    @property
    def name(self) -> str:
        return self._name

    def routes(self, via: str) -> tuple[Route, ...]:
        """Return the routes to try, in order, for `--via`. Raises UsageError if there is none."""
        routes = tuple(route for route in (self.direct, self.proxy) if route is not None)
        matching = tuple(route for route in routes if via in ("auto", route.via))
        if not matching:
            raise UsageError(
                f'target "{self.name}" has no "{via}" connection; it has: {routes[0].via}. '
                f"Use --via {routes[0].via}, or add it to the configuration"
            )
        return matching


class Config(Section):
    """All targets; `default` is the one to use without `--target`, otherwise the first."""

    targets: dict[str, Target] = Field(
        min_length=1, description='at least one target, such as {"pod1": {"direct": {…}}}'
    )
    default: str = Field("", description="the name of a target")
    _context: Context

    @field_validator("targets")
    @classmethod
    def _reserve_all(cls, targets: dict[str, Target]) -> dict[str, Target]:
        if "all" in targets:
            raise ValueError('"all" means every target; choose another name')
        return targets

    @field_validator("default")
    @classmethod
    def _require_target(cls, name: str, info: ValidationInfo) -> str:
        targets = info.data.get("targets")
        if targets is not None and name not in targets:
            raise ValueError(
                f'"{name}" is not a target{_nearest(name, targets)}; allowed: {", ".join(targets)}'
            )
        return name

    def model_post_init(self, context: Context, /) -> None:
        self._context = context
        for name, target in self.targets.items():
            target._name = name

    @property
    def notes(self) -> list[str]:
        """What of `~/.ssh/config` is not used, and why."""
        return self._context.openssh.notes

    def select(self, names: list[str]) -> list[Target]:
        """Return the named targets; no name means the default, `all` means every target."""
        if "all" in names:
            return list(self.targets.values())
        selected = dict.fromkeys(names or [self.default or next(iter(self.targets))])
        for name in selected:
            if name not in self.targets:
                raise UsageError(
                    f'no target "{name}" in {self._context.path.name}'
                    f"{_nearest(name, self.targets)}; targets: {', '.join(self.targets)}"
                )
        return [self.targets[name] for name in selected]


_SECTIONS: dict[int, type[Section]] = {0: Config, 2: Target, 3: Route}
"""The model of an object, by the length of its path: `targets.NAME.direct` is a Route."""


def config_path(environ: Mapping[str, str]) -> Path:
    """Return `EASEL_SSH_CONFIG`, or `infra/ssh_config.json` if it is not set."""
    configured = environ.get("EASEL_SSH_CONFIG")
    return expanded(configured or Path(__file__).parents[1] / "ssh_config.json").absolute()


def load_config(path: Path) -> Config:
    """Read and check the file; a ConfigError names every fault and what is allowed instead."""
    context = Context(path, OpenSshConfig(expanded("~/.ssh/config")))
    try:
        return Config.model_validate_json(read_text(path), context=context)
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration {path.name}: copy infra/ssh_config.json.template to "
            "infra/ssh_config.json and fill it in, or set EASEL_SSH_CONFIG to your file"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read: {error}") from error
    except ValidationError as error:
        raise ConfigError(f"{path.name}: {'; '.join(map(_sentence, error.errors()))}") from None
    except ValueError as error:
        raise ConfigError(f"{path.name} {error}") from None


def _sentence(fault: ErrorDetails) -> str:
    path = [part for part in fault["loc"] if isinstance(part, str)]  # without list indexes
    parent = _SECTIONS.get(len(path) - 1)
    keys = parent.model_fields if parent else {}
    allowed = keys[path[-1]].description if path and path[-1] in keys else None
    value = json.dumps(fault["input"], default=str)[:60]
    match fault["type"]:
        case "json_invalid":
            problem = f"not valid JSON: {fault['ctx']['error']}"
        case "missing":
            problem = "missing"
        case "extra_forbidden":
            problem = f"unknown key{_nearest(path[-1], keys)}"
            allowed = ", ".join(keys)
        case "model_type":
            problem = f"{value} is not an object {{…}}"
            allowed = f"the keys {', '.join(_SECTIONS[len(path)].model_fields)}"
        case "value_error" if message := str(fault["ctx"]["error"]):
            problem, allowed = message, None
        case _:
            problem = f"{value} is not allowed"
    where = f"{'.'.join(path)}: " if path else ""
    return where + problem + (f"; allowed: {allowed}" if allowed else "")


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, 1)
    return f' (did you mean "{close[0]}"?)' if close else ""
