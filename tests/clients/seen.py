"""What the user of a client sees: pictures, and errors."""

import base64
import io
from typing import Any

from PIL import Image


def pictures(reported: Any) -> list[Image.Image]:
    """Decode what a step reported: one picture or several, as base64."""
    assert not (isinstance(reported, dict) and "error" in reported), reported
    several = [reported] if isinstance(reported, str) else reported
    opened: list[Image.Image] = []
    for data in several:
        opened.append(Image.open(io.BytesIO(base64.b64decode(data))))
    for picture in opened:
        picture.load()
    return opened


def sizes(reported: Any) -> list[tuple[int, int]]:
    return [picture.size for picture in pictures(reported)]


def error(reported: Any) -> dict[str, Any]:
    """Return class and message of the error that the step must have met."""
    assert isinstance(reported, dict), reported
    assert "error" in reported, reported
    found: dict[str, Any] = reported["error"]
    return found
