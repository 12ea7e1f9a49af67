"""Requests to a GPU server that draws sketches, and what its answers hold."""

import base64
import io
import json
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.gpu_server.pictures import samples

SMALL: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "width": 256, "height": 256}
STYLES = ["realism", "lux", "anime", "chatgpt"]
PHOTO = base64.b64encode(samples.saved(samples.halves((512, 384)), "PNG")).decode()
RESTYLE = {"mode": "restyle", "image": PHOTO, "seed": 7, "width": 256, "height": 256}


def generate(http: httpx.Client, accept: str = "", **body: Any) -> httpx.Response:
    answer = http.post("/generate", json=body, headers={"Accept": accept} if accept else {})
    assert answer.status_code == 200, answer.text
    return answer


def drawn(http: httpx.Client, **body: Any) -> bytes:
    """Return the first image as PNG."""
    return generate(http, "image/png", **body).content


def pixels(data: bytes) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def difference(one: bytes, other: bytes) -> float:
    """Return the mean difference of two images, 0–255."""
    return float(np.abs(pixels(one).astype(float) - pixels(other)).mean())


def same(one: bytes, other: bytes) -> bool:
    """Whether two files have the same pixels; their times, ids and signatures differ."""
    return np.array_equal(pixels(one), pixels(other))


def frames(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Parse a stream into its events: name and data."""
    found = []
    for frame in text.replace("\r\n", "\n").split("\n\n"):
        lines = [line.partition(": ") for line in frame.splitlines() if not line.startswith(":")]
        fields = {name: value for name, _, value in lines}
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


def ended(http: httpx.Client, job: str) -> dict[str, Any]:
    """Follow a job to its end and return its last state."""
    found: dict[str, Any] = frames(http.get(f"{job}/events").text)[-1][1]
    return found
