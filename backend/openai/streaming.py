"""The Images API's event streams: partial images while drawing, then the completed ones."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

from fastapi.sse import format_sse_event

from backend.openai import translation
from backend.openai.translation import ImageCall
from backend.routes.context import survives_disconnect
from backend.service import GenerationService
from backend.storage.generations import GenerationRow
from gpu_server.pictures import encoding
from gpu_server.pictures.provenance import Origin, xmp_packet
from gpu_server.schemas import SKETCH, Preview
from web import VERSION, errors


async def stream(
    service: GenerationService, row: GenerationRow, call: ImageCall, kind: str, key: str | None
) -> AsyncIterator[bytes]:
    """Yield partial images spread over the drawing, then one `completed` event for each image."""
    done = False
    try:
        async for event in _partial_images(service, row, call, kind):
            yield _encoded(event)
        done = True
        ended = await service.finished(row)
        for number in range(ended.request.count):
            image = await service.image(ended, number)
            name = f"{kind}.completed"
            yield _encoded(translation.image_event(name, call, image, size_of(ended)))
    except errors.EaselError as error:
        yield format_sse_event(data_str=json.dumps(translation.error_body(error)[1]), event="error")
    finally:
        if not done and not survives_disconnect(key):
            await asyncio.shield(service.abandon(row))


async def _partial_images(
    service: GenerationService, row: GenerationRow, call: ImageCall, kind: str
) -> AsyncIterator[dict[str, Any]]:
    shown = 0
    async for event in service.events(row, previews=call.partial_images > 0):
        due = service.preview_due(row, (shown + 1) / (call.partial_images + 1))
        if isinstance(event.data, Preview) and due and shown < call.partial_images:
            preview = base64.b64decode(event.data.data)
            image = await asyncio.to_thread(
                encoding.as_format,
                preview,
                call.request.format,
                f"Easel {VERSION}",
                xmp_packet(_origin(row, service.view(row).engine)),
            )
            body = translation.image_event(f"{kind}.partial_image", call, image, call.size)
            yield body | {"partial_image_index": shown}
            shown += 1


def _origin(row: GenerationRow, engine: str) -> Origin:
    is_ai = not engine.startswith(SKETCH)
    created = datetime.fromtimestamp(row.created, UTC)
    model = row.model if is_ai else engine
    return Origin(row.request.mode, row.request.style, model, ai=is_ai, created=created)


def _encoded(body: dict[str, Any]) -> bytes:
    return format_sse_event(data_str=json.dumps(body), event=str(body["type"]))


def size_of(row: GenerationRow) -> str:
    """Return the size of a finished generation's images, as OpenAI writes it."""
    if row.outcome is None:
        raise errors.Internal
    image = row.outcome.images[0]
    return f"{image.width}x{image.height}"
