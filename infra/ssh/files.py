"""Read the small files that people write, in the encodings that their editors save."""

import codecs
import os
from pathlib import Path

_LIMIT = 1_000_000


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8, or in UTF-16 with its byte order mark.

    Raises OSError if it cannot be read, and ValueError if it is not such a file.
    """
    if path.is_dir():
        raise ValueError("is a folder")
    if path.exists() and not path.is_file():  # reading a pipe or a device may never end
        raise ValueError("is not a regular file")
    with path.open("rb") as file:
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise ValueError("is larger than 1 MB")
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not text (byte {error.start + 1}): save it as UTF-8") from None
    if "\0" in text:
        raise ValueError("is not text, or in another encoding: save it as UTF-8")
    return text


def expanded(path: str | Path) -> Path:
    """Return a path with a leading `~` replaced; an unknown user's stays, and does not exist."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib raises RuntimeError
