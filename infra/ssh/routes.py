"""One way to a host: an SSH server, as the configuration and `~/.ssh/config` describe it."""

import getpass
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)

from infra.ssh.files import expanded
from infra.ssh.openssh import Entry, OpenSshConfig


@dataclass(frozen=True)
class Context:
    """The files that a configuration refers to: its own, and OpenSSH's."""

    path: Path
    openssh: OpenSshConfig


def _resolve(path: Path, info: ValidationInfo) -> Path:
    """Resolve a file name against the folder of the configuration file."""
    if path == Path() or "\0" in str(path):
        raise ValueError
    return cast("Context", info.context).path.parent / expanded(path)


LocalFile = Annotated[Path, AfterValidator(_resolve)]


# pydantic's own regular expressions have no look-ahead; only Config's validator is ever needed
class Section(
    BaseModel, extra="forbid", frozen=True, strict=True, regex_engine="python-re", defer_build=True
):
    """One object of the file. Each field's description says which values are allowed."""

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_null(cls, value: object) -> object:
        if value is None:
            raise ValueError
        return value


class Route(Section):
    """One way to a host: an SSH server and a user. What is not here is taken from `~/.ssh/config`.

    Without a key there either, ssh-agent's keys are used.
    """

    via: ClassVar[Literal["direct", "proxy"]]
    host: str = Field(
        "",
        pattern=r"^[^\s@/-][^\s@/]*\Z",
        description='a name or address, such as "203.0.113.7", or a Host of ~/.ssh/config',
    )
    pod: str = Field(
        "", pattern=r"^[A-Za-z0-9]{1,64}\Z", description='a RunPod pod id, such as "k3x9v0qp2m"'
    )
    port: int = Field(22, ge=1, le=65535, description="a whole number from 1 to 65535")
    user: str = Field(pattern=r"^[^\s@]+\Z", description='a user name, such as "root"')
    key: LocalFile | None = Field(
        None, description='a private key file, such as "~/.ssh/id_ed25519", or the .pub of one'
    )
    _entry: Entry = Entry()
    _jumps: tuple["Route", ...] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _complete(
        cls, data: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        """Complete a route from `~/.ssh/config`, as ssh does."""
        host = data.get("host") if isinstance(data, dict) else None
        if not isinstance(host, str) or not isinstance(info.context, Context):
            return handler(data)
        entry = info.context.openssh.lookup(host)
        there = {"port": entry.port, "user": entry.user}
        known = {name: value for name, value in there.items() if value is not None}
        route = handler({**known, **cast("dict[str, object]", data), "host": entry.host})
        route._entry = entry
        route._jumps = tuple(_jumps(entry, info.context.openssh, {(entry.host, route.port)}))
        return route

    def model_post_init(self, _context: object, /) -> None:
        if not self.host and not self.pod:
            raise ValueError('needs "host", or "pod" for a pod of RunPod')

    @property
    def entry(self) -> Entry:
        """What `~/.ssh/config` says about the host."""
        return self._entry

    @property
    def key_files(self) -> tuple[Path, ...]:
        return self.entry.identities if self.key is None else (self.key,)

    @property
    def jumps(self) -> tuple["Route", ...]:
        """The servers to go through, first to last (ProxyJump)."""
        return self._jumps

    @property
    def name(self) -> str:
        """The host's name in known_hosts. A pod keeps its own when its address changes."""
        if named := self.pod or self.entry.key_name:
            return named
        return self.host if self.port == 22 else f"[{self.host}]:{self.port}"

    @property
    def address(self) -> str:
        return f"pod {self.pod}" if self.pod else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.via} {self.user}@{self.address}"


class Direct(Route):
    via = "direct"


class Proxy(Route):
    via = "proxy"


def _jumps(entry: Entry, openssh: OpenSshConfig, passed: set[tuple[str, int]]) -> Iterable[Route]:
    """Yield the servers on the way to a host; none twice, so that no way is a circle."""
    for jump in entry.jumps:
        own = openssh.lookup(jump.host)
        address = own.host, jump.port or own.port or 22
        if address in passed:
            continue
        passed.add(address)
        yield from _jumps(own, openssh, passed)
        user = jump.user or own.user or getpass.getuser()
        route = Direct(host=address[0], port=address[1], user=user)
        route._entry = own
        yield route
