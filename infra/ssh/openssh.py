"""What OpenSSH's own configuration, `~/.ssh/config`, says about a host."""

import glob
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.ssh.files import expanded, read_text

if TYPE_CHECKING:
    from paramiko import SSHConfig

_LINE = re.compile(r"\s*(\w+)(?:\s*=\s*|\s+)(\S.*?)\s*")
_JUMP = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^\s@]+)@)?(?P<host>\[[^\s@/\]]+\]|[^-\s@/:][^\s@/:]*)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_FLAGS = {"all", "canonical", "final"}
_CRITERIA = {"host", "originalhost", "user", "localuser"}
"""The criteria of a Match block that are understood. `exec` is not: it would run a program."""
_EVERY_HOST, _NO_HOST = "Host *", "Host !*"
_DEEPEST = 16
"""How many files may include one another, as in OpenSSH."""
_NO_FILE = {"none", "/dev/null"}


@dataclass(frozen=True)
class Entry:
    """What is configured for one host; without any configuration, its name."""

    host: str = ""
    port: int | None = None
    user: str | None = None
    identities: tuple[Path, ...] = ()
    identities_only: bool = False
    known_hosts: tuple[Path, ...] = ()
    key_name: str = ""
    """HostKeyAlias: the name in known_hosts."""
    jumps: tuple["Jump", ...] = ()
    """ProxyJump: the servers to go through, first to last."""


@dataclass(frozen=True)
class Jump:
    """One server of a ProxyJump; what it leaves out may stand elsewhere in the file."""

    user: str | None
    host: str
    port: int | None


@dataclass(eq=False)
class OpenSshConfig:
    """The file, read when it is first needed; `notes` says what of it is not used, and why."""

    path: Path
    notes: list[str] = field(default_factory=list)
    _parsed: "SSHConfig | None" = None
    _read: bool = False

    def lookup(self, host: str) -> Entry:
        """Return what is configured for a host; a fault of the file becomes a note."""
        if not self._read:
            self._read = True
            self._parse()
        if self._parsed is None:
            return Entry(host)
        try:
            return self._entry(host, dict(self._parsed.lookup(host)))
        except Exception as error:  # paramiko's parser raises anything
            self._note(f"it says nothing usable about {host}: {error}")
            return Entry(host)

    def _parse(self) -> None:
        lines = list(self._lines(self.path, _EVERY_HOST, 0))
        if lines:
            from paramiko import SSHConfig  # noqa: PLC0415 - only those who have the file need it

            try:
                self._parsed = SSHConfig.from_text("\n".join(lines))
            except Exception as error:  # paramiko's parser raises anything
                self._note(str(error))

    def _lines(self, path: Path, block: str, depth: int) -> Iterator[str]:
        """Yield the lines of a file with each Include replaced; `block` says where it stands."""
        try:
            text = read_text(path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._note(str(getattr(error, "strerror", None) or error), path)
            return
        for number, line in enumerate(text.splitlines(), 1):
            match = _LINE.fullmatch(line)
            if match is None:
                if line.strip() and not line.lstrip().startswith("#"):
                    self._note(f"line {number} is not KEYWORD VALUE", path)
                continue
            keyword, value = match[1].lower(), match[2]
            if keyword == "include":
                yield from self._included(value, block, depth + 1)
                yield block
                continue
            if keyword in {"host", "match"}:
                block = f"Host {value}" if keyword == "host" else _match(value)
                if block == _NO_HOST:
                    self._note(f"line {number}: the block of `Match {value}` is not used", path)
            yield block if keyword in {"host", "match"} else line

    def _included(self, value: str, block: str, depth: int) -> Iterator[str]:
        if depth > _DEEPEST:
            self._note("files include one another too deeply")
            return
        for word in value.split():
            pattern = self.path.parent / expanded(word.strip('"'))
            for name in sorted(glob.glob(str(pattern))):  # noqa: PTH207 - the pattern is absolute
                yield from self._lines(Path(name), block, depth)

    def _entry(self, host: str, found: dict[str, Any]) -> Entry:
        port = found.get("port", "")
        if port and not port.isdecimal():
            self._note(f"Port {port} of {host} is not a number")
        jump = found.get("proxyjump", "none")
        if found.get("proxycommand"):
            self._note(f"the ProxyCommand of {host} is not used; ProxyJump would be")
        known_hosts = shlex.split(found.get("userknownhostsfile", ""))
        return Entry(
            host=found["hostname"],
            port=int(port) if port.isdecimal() else None,
            user=found.get("user"),
            identities=_paths(found.get("identityfile", [])),
            identities_only=found.get("identitiesonly", "no").lower() == "yes",
            known_hosts=_paths(known_hosts),
            key_name=found.get("hostkeyalias", ""),
            jumps=() if jump.lower() == "none" else tuple(self._jumps(jump)),
        )

    def _jumps(self, value: str) -> Iterator[Jump]:
        for text in value.split(","):
            match = _JUMP.fullmatch(text.strip())
            if match is None or int(match["port"] or 0) > 65535:
                self._note(f"ProxyJump {text.strip()} is not [user@]host[:port]")
                continue
            port = int(match["port"]) if match["port"] else None
            yield Jump(match["user"], match["host"].strip("[]"), port)

    def _note(self, text: str, path: Path | None = None) -> None:
        note = f"{path or self.path}: {text}"
        if note not in self.notes:
            self.notes.append(note)


def _match(criteria: str) -> str:
    """Return the Match line of criteria that are understood, or a block for no host."""
    try:
        words = iter(shlex.split(criteria))
    except ValueError:  # an open quotation
        return _NO_HOST
    line = ["Match"]
    for word in words:
        name = word.lower()
        if name.lstrip("!") not in _FLAGS | _CRITERIA:
            return _NO_HOST
        line.append(name)
        if name.lstrip("!") in _CRITERIA:
            line.append(shlex.quote(next(words, "")))
    return " ".join(line)


def _paths(names: list[str]) -> tuple[Path, ...]:
    return tuple(expanded(name) for name in names if name.lower() not in _NO_FILE)
