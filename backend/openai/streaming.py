"""The Images API's event streams: partial images while drawing, then the completed ones."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from backend.openai.answers import About, CompletedImage, PartialImage
from backend.openai.calls import Caller, about, in_base64
from backend.openai.failures import in_openai_shape
from backend.openai.requests import ImageCall
from backend.storage.generations import GenerationRow
from gpu_server.pictures import encoding
from gpu_server.pictures.provenance import Origin, xmp_packet
from gpu_server.schemas import SKETCH, Preview
from web import VERSION, errors
from web.sse import Event


@dataclass(frozen=True)
class ImageStream:
    """The events of one generation; a caller who hangs up before its end abandons it."""

    caller: Caller
    row: GenerationRow
    call: ImageCall
    is_edit: bool

    async def events(self) -> AsyncIterator[Event]:
        """Yield as many partial images as the caller wants, then each completed one."""
        complete = False
        try:
            async for event in self._images():
                yield event
            complete = True
        except errors.EaselError as error:
            yield Event("error", in_openai_shape(error))
        finally:
            await asyncio.shield(self.caller.release(self.row)(complete))

    async def _images(self) -> AsyncIterator[Event]:
        service, wanted = self.caller.service, self.call.partial_images
        shown, newest = 0, ""
        async for event in service.events(self.row, previews=wanted > 0):
            if isinstance(event.data, Preview) and shown < wanted:
                newest = await self._encoded(event.data)
                if service.preview_due(self.row, (shown + 1) / (wanted + 1)):
                    yield self._partial(newest, shown)
                    shown += 1
        ended = await service.finished(self.row)
        if shown < wanted and not newest:
            newest = await in_base64(await service.image(ended, 0))
        for number in range(shown, wanted):  # it was drawn faster than previews come
            yield self._partial(newest, number)
        kind: Literal["image_edit.completed", "image_generation.completed"]
        kind = "image_edit.completed" if self.is_edit else "image_generation.completed"
        known = about(self.call, ended).model_dump()
        for number in range(ended.request.count):
            image = await in_base64(await service.image(ended, number))
            yield Event(kind, CompletedImage(type=kind, b64_json=image, **known))

    def _partial(self, image: str, number: int) -> Event:
        kind: Literal["image_edit.partial_image", "image_generation.partial_image"]
        kind = "image_edit.partial_image" if self.is_edit else "image_generation.partial_image"
        known = About(output_format=self.call.request.format, size=self.call.size).model_dump()
        data = PartialImage(type=kind, b64_json=image, partial_image_index=number, **known)
        return Event(kind, data)

    async def _encoded(self, preview: Preview) -> str:
        """Return a preview in base64, marked like an image and in its format."""
        row = self.row
        engine = self.caller.service.view(row).engine
        is_ai = not engine.startswith(SKETCH)
        created = datetime.fromtimestamp(row.created, UTC)
        model = row.model if is_ai else engine
        origin = Origin(row.request.mode, row.request.style, model, ai=is_ai, created=created)
        image = await asyncio.to_thread(
            encoding.as_format,
            base64.b64decode(preview.data),
            self.call.request.format,
            f"Easel {VERSION}",
            xmp_packet(origin),
        )
        return await in_base64(image)
