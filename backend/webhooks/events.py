"""What a receiver is told of a generation that has ended."""

import json
from collections.abc import Callable
from datetime import UTC, datetime

from backend.schemas import Generation
from backend.storage.generations import GenerationRow

ImageUrl = Callable[[GenerationRow, int], str]
"""Returns the address of an image, which works without a key."""


def body(row: GenerationRow, generation: Generation, image_url: ImageUrl) -> bytes:
    """Return the event of an ended generation, which is shown as `GET` shows it."""
    data = generation.model_dump(mode="json")
    for number, image in enumerate(data["images"]):
        image["url"] = image_url(row, number)
    event = {
        "type": f"generation.{generation.status}",
        "timestamp": (generation.ended_at or datetime.now(UTC)).isoformat(),
        "data": data,
    }
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
