"""The data of an inline button: short, self-contained, at most 64 bytes.

`j:<generation>:<action>[:<argument>]` belongs to a generation, whose row names the owner;
`m:<owner>:<action>[:<argument>]` belongs to a menu and names its owner itself.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

LIMIT = 64
_MAX_NAME_BYTES = 20
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class JobPress:
    job: UUID
    action: str
    argument: str = ""

    @property
    def number(self) -> int:
        """Which of the generation's pictures is meant, from 0."""
        return int(self.argument) if self.argument.isdigit() else 0

    def encode(self) -> str:
        job = base64.urlsafe_b64encode(self.job.bytes).rstrip(b"=").decode()
        return _joined("j", job, self.action, self.argument)


@dataclass(frozen=True)
class MenuPress:
    owner: int
    action: str
    argument: str = ""

    def encode(self) -> str:
        return _joined("m", _base36(self.owner), self.action, self.argument)


def decode(data: str) -> JobPress | MenuPress | None:
    """Return what was pressed; None for data that this bot never made."""
    kind, _, rest = data.partition(":")
    subject, _, rest = rest.partition(":")
    action, _, argument = rest.partition(":")
    if not action:
        return None
    try:
        if kind == "j":
            return JobPress(UUID(bytes=base64.urlsafe_b64decode(f"{subject}==")), action, argument)
        if kind == "m":
            return MenuPress(int(subject, 36), action, argument)
    except (ValueError, binascii.Error):
        return None
    return None


def short(name: str) -> str:
    """Replace a name that is too long for a button by a digest of it."""
    if len(name.encode()) <= _MAX_NAME_BYTES:
        return name
    return "~" + hashlib.sha256(name.encode()).hexdigest()[:12]


def named(shortened: str, names: Iterable[str]) -> str | None:
    """Return the name that `short` shortened to this, if it is still one of `names`."""
    return next((name for name in names if short(name) == shortened), None)


def _joined(*parts: str) -> str:
    data = ":".join(part for part in parts if part)
    if len(data.encode()) > LIMIT:
        raise ValueError(f"callback data has {len(data.encode())} bytes; {LIMIT} are allowed")
    return data


def _base36(number: int) -> str:
    sign, number = ("-", -number) if number < 0 else ("", number)
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return sign + digits
