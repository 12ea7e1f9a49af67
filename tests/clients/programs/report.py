"""Report what each step of a client's program came to, into the file that REPORT names.

The programs beside this file are as a client's user writes them, without types: what they import
lies in environments that mypy does not see.
"""

import asyncio
import atexit
import base64
import inspect
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_reported: dict[str, Any] = {}


def step(action: Callable[[], Any]) -> None:
    """Run the decorated function at once and keep what it returns or raises under its name."""
    try:
        result = action()
        _reported[action.__name__] = asyncio.run(result) if inspect.iscoroutine(result) else result
    except Exception as error:
        said = {"class": type(error).__name__, "message": str(error)}
        _reported[action.__name__] = {"error": said}


def encoded(picture: bytes | str | Path) -> str:
    """Return a picture, or the file of one, as base64."""
    content = picture if isinstance(picture, bytes) else Path(picture).read_bytes()
    return base64.b64encode(content).decode()


@atexit.register
def _write() -> None:
    Path(os.environ["REPORT"]).write_text(json.dumps(_reported), "utf-8")
