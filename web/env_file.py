"""Read an `.env` file without passing over anything: what cannot be read stops the start."""

import re
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class EnvFileError(ValueError):
    """A file or a line of it cannot be read; the message names both, never a value."""


def read_env_file(path: Path) -> dict[str, str]:
    """Return the settings in a file, none when there is no such file. Raises EnvFileError.

    A BOM, CRLF, `export`, quotes and blanks around `=` are fine. Raises OSError as well.
    """
    if not path.is_file():
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise EnvFileError(f"{path} is not UTF-8 text; save it as UTF-8") from None
    if "\0" in text:
        raise EnvFileError(f"{path} is not UTF-8 text; save it as UTF-8")
    settings: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        lines = binding.original.string
        blank = lines[: len(lines) - len(lines.lstrip())]
        number = binding.original.line + blank.count("\n")
        if binding.error or "\n" in lines.strip() or "\r" in lines.strip():
            raise EnvFileError(
                f"{path}, line {number}: it is not NAME=value, or a quote is not closed"
            )
        if binding.key is None:  # blank, or a comment
            continue
        if binding.value is None or not _NAME.fullmatch(binding.key):
            raise EnvFileError(f"{path}, line {number}: it is not NAME=value")
        settings[binding.key] = binding.value
    return settings
