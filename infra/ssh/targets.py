"""The configuration file: which hosts there are and how each is reached."""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from infra.ssh.errors import ConfigError, UsageError

Via = Literal["direct", "proxy"]

SHARED = (".env", "backend/.env", "gpu_server/.env", "telegram_bot/.env", "data/")
_VIAS: tuple[Via, ...] = get_args(Via)


@dataclass(frozen=True)
class Route:
    """One way to a host: an SSH server and who to be there; no key means ssh-agent."""

    via: Via
    host: str
    port: int
    user: str
    key: Path | None

    @property
    def name(self) -> str:
        """The host's name in known_hosts."""
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        return f"{self.via} {self.user}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Target:
    """One host; `direct` is a full SSH server, `proxy` a gateway that gives a terminal only."""

    name: str
    direct: Route | None
    proxy: Route | None
    workdir: str
    known_hosts: Path
    shared: tuple[str, ...]
    keep_releases: int

    def routes(self, via: str) -> tuple[Route, ...]:
        """The ways to try, in order, for `--via auto|direct|proxy`.

        Raises:
            UsageError: this target has no such way.
        """
        both = tuple(route for route in (self.direct, self.proxy) if route is not None)
        if via == "auto":
            return both
        wanted = tuple(route for route in both if route.via == via)
        if not wanted:
            raise UsageError(
                f'target "{self.name}" has no "{via}" connection; it has: {both[0].via}. '
                f"Use --via {both[0].via}, or add it to the configuration"
            )
        return wanted


@dataclass(frozen=True)
class Config:
    """All targets; `default` is the one meant when no `--target` is given."""

    path: Path
    default: str
    targets: Mapping[str, Target]

    def select(self, names: list[str]) -> list[Target]:
        """The targets of these names; none means the default, `all` every one.

        Raises:
            UsageError: there is no target of this name.
        """
        if "all" in names:
            return list(self.targets.values())
        chosen = dict.fromkeys(names or [self.default])
        for name in chosen:
            if name not in self.targets:
                raise UsageError(
                    f'no target "{name}" in {self.path.name}{_nearest(name, self.targets)}; '
                    f"targets: {', '.join(self.targets)}"
                )
        return [self.targets[name] for name in chosen]


def config_path(environ: Mapping[str, str]) -> Path:
    """`EASEL_SSH_CONFIG`, else `ssh_config.json` beside this module."""
    configured = environ.get("EASEL_SSH_CONFIG")
    return Path(configured or Path(__file__).parents[1] / "ssh_config.json").expanduser().absolute()


def load_config(path: Path) -> Config:
    """Reads and checks the whole file.

    Raises:
        ConfigError: every fault at once, each naming the key and what is allowed.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration {path.name}: copy infra/ssh_config.json.template to "
            "infra/ssh_config.json and fill it in, or set EASEL_SSH_CONFIG to your file"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path.name} cannot be read: {error}") from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path.name} is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        ) from error
    faults = list(_faults(document))
    if faults:
        raise ConfigError(f"{path.name}: " + "; ".join(faults))
    return _build(path, document)


def _build(path: Path, document: dict[str, Any]) -> Config:
    targets = {name: _target(path, name, fields) for name, fields in document["targets"].items()}
    return Config(path, document.get("default", next(iter(targets))), targets)


def _target(path: Path, name: str, fields: dict[str, Any]) -> Target:
    return Target(
        name=name,
        direct=_route(path, "direct", fields),
        proxy=_route(path, "proxy", fields),
        workdir=fields.get("workdir", "/workspace/easel").rstrip("/"),
        known_hosts=_file(path, fields.get("known_hosts", "known_hosts")),
        shared=tuple(fields.get("shared", SHARED)),
        keep_releases=fields.get("keep_releases", 3),
    )


def _route(path: Path, via: Via, target: dict[str, Any]) -> Route | None:
    if via not in target:
        return None
    fields = target[via]
    key = _file(path, fields["key"]) if "key" in fields else None
    return Route(via, fields["host"], fields.get("port", 22), fields["user"], key)


def _file(config: Path, name: str) -> Path:
    return config.parent / Path(name).expanduser()


def _faults(document: object) -> Iterator[str]:
    if not isinstance(document, dict):
        yield 'the file must hold an object: {"default": …, "targets": {…}}'
        return
    yield from _unknown_keys("", document, ("default", "targets"))
    targets = document.get("targets")
    if not isinstance(targets, dict) or not targets:
        yield 'targets: at least one target is needed, such as {"pod1": {"direct": {…}}}'
        return
    default = document.get("default", next(iter(targets)))
    if not isinstance(default, str) or default not in targets:
        yield f"default: {_shown(default)} is not a target; allowed: {', '.join(targets)}"
    for name, fields in targets.items():
        yield from _target_faults(name, fields)


def _target_faults(name: str, fields: object) -> Iterator[str]:
    where = f"targets.{name}"
    if name == "all":
        yield f'{where}: "all" means every target; choose another name'
    if not isinstance(fields, dict):
        yield f"{where}: {_shown(fields)} is not an object {{…}}"
        return
    yield from _unknown_keys(f"{where}.", fields, (*_VIAS, *_TARGET_RULES))
    yield from _value_faults(f"{where}.", fields, _TARGET_RULES)
    if not any(via in fields for via in _VIAS):
        yield f'{where}: needs "direct", "proxy" or both'
    for via in _VIAS:
        if via in fields:
            yield from _route_faults(f"{where}.{via}", fields[via])


def _route_faults(where: str, fields: object) -> Iterator[str]:
    if not isinstance(fields, dict):
        yield f"{where}: {_shown(fields)} is not an object {{…}}"
        return
    for key in ("host", "user"):
        if key not in fields:
            yield f"{where}.{key}: missing; allowed: {_ROUTE_RULES[key].allowed}"
    yield from _unknown_keys(f"{where}.", fields, _ROUTE_RULES)
    yield from _value_faults(f"{where}.", fields, _ROUTE_RULES)


def _unknown_keys(where: str, fields: dict[str, Any], allowed: Iterable[str]) -> Iterator[str]:
    known = list(allowed)
    for key in fields:
        if key not in known:
            yield f"{where}{key}: unknown key{_nearest(key, known)}; allowed: {', '.join(known)}"


def _value_faults(where: str, fields: dict[str, Any], rules: dict[str, "_Rule"]) -> Iterator[str]:
    for key, rule in rules.items():
        if key in fields and not rule.holds(fields[key]):
            yield f"{where}{key}: {_shown(fields[key])} is not allowed; allowed: {rule.allowed}"


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f' (did you mean "{close[0]}"?)' if close else ""


def _shown(value: object) -> str:
    return json.dumps(value)[:60]


@dataclass(frozen=True)
class _Rule:
    holds: Callable[[Any], bool]
    allowed: str


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _within(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


_PATH_INSIDE = _matches(r"(?!/)(?!(.*/)?\.\.(/|$))[^\0\n]+")
_ROUTE_RULES = {
    "host": _Rule(_matches(r"[^\s@/-][^\s@/]*"), 'a name or address, such as "203.0.113.7"'),
    "port": _Rule(_within(1, 65535), "a whole number from 1 to 65535"),
    "user": _Rule(_matches(r"[^\s@]+"), 'a user name, such as "root"'),
    "key": _Rule(_matches(r"[^\0\n]+"), 'a private key file, such as "~/.ssh/id_ed25519"'),
}
_TARGET_RULES = {
    "workdir": _Rule(
        _matches(r"/[^\0\n]*[^\0\n/.][^\0\n]*"),
        'an absolute path on the host, such as "/workspace/easel"',
    ),
    "known_hosts": _Rule(_matches(r"[^\0\n]+"), "a file, relative to this one"),
    "shared": _Rule(
        lambda value: isinstance(value, list) and all(map(_PATH_INSIDE, value)),
        'a list of paths inside workdir, such as ["backend/.env", "data/"]',
    ),
    "keep_releases": _Rule(_within(2, 100), "a whole number from 2 to 100"),
}
