"""What an inline button carries: short, self-contained, at most 64 bytes.

`j:<generation>:<action>[:<argument>]` belongs to a generation, whose owner is on record;
`m:<owner>:<action>[:<argument>]` belongs to a menu and names its owner itself.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

LIMIT = 64
_LONGEST_NAME = 20
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class JobPress:
    job: UUID
    action: str
    argument: str = ""

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
    """What was pressed; None for anything that is not ours."""
    kind, _, rest = data.partition(":")
    whose, _, rest = rest.partition(":")
    action, _, argument = rest.partition(":")
    if not action:
        return None
    try:
        if kind == "j":
            return JobPress(UUID(bytes=base64.urlsafe_b64decode(f"{whose}==")), action, argument)
        if kind == "m":
            return MenuPress(int(whose, 36), action, argument)
    except (ValueError, binascii.Error):
        return None
    return None


def short(name: str) -> str:
    """A stand-in for a name that is too long for a button."""
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    return "~" + hashlib.sha256(name.encode()).hexdigest()[:12]


def named(stand_in: str, names: Iterable[str]) -> str | None:
    """The name `short` was given, if it is still one of `names`."""
    return next((name for name in names if short(name) == stand_in), None)


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
