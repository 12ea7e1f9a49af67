"""From ComfyUI's output files to finished images: judged, encoded and signed in threads."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from PIL import Image

from gpu_server.comfy.answers import FileGone, OutputFile
from gpu_server.comfy.client import ComfyClient
from gpu_server.jobs.job import Job
from gpu_server.pictures import encoding, formats
from gpu_server.pictures.encoding import BadPixels, Encoded
from gpu_server.pictures.provenance import Origin, xmp_packet
from gpu_server.safety.guard import OUT_OF_ORDER, Guard
from gpu_server.schemas import SKETCH, ImageInfo
from gpu_server.timeouts import Timeouts
from web import errors

T = TypeVar("T")


Outputs = list[tuple[int, OutputFile]]
"""A job's output files in ComfyUI with their images' seeds."""


class ImagesGone(Exception):
    """ComfyUI drew the images but no longer has them."""


@dataclass(frozen=True)
class Finished:
    """A job's encoded images in the order of their seeds, and how long they took to finish."""

    infos: list[ImageInfo]
    images: list[bytes]
    encode_s: float


@dataclass(kw_only=True)
class JobImages:
    """Turn a job's output files into images that may leave this server."""

    comfy: ComfyClient
    guard: Guard
    workers: ThreadPoolExecutor
    timeouts: Timeouts

    def require_guard(self) -> None:
        """Raise EngineLost if no image could be handed out here: another pod may draw it."""
        if self.guard.fault:
            raise errors.EngineLost(OUT_OF_ORDER)

    async def warm_up(self) -> None:
        """Load Pillow's codecs now rather than for the first image."""
        await asyncio.get_running_loop().run_in_executor(self.workers, _load_codecs)

    async def finish(self, job: Job, outputs: Outputs) -> Finished:
        """Fetch, judge, encode and sign a job's images.

        Raises ImagesGone if ComfyUI no longer has a file or it is damaged, or Unreachable; and the
        guard's ContentRefused, EngineError and EngineLost.
        """
        began = time.monotonic()
        mode, style = job.style
        ai = not job.engine.startswith(SKETCH)
        model = job.model if ai else job.engine
        origin = Origin(mode, style, model, ai=ai, created=datetime.now(UTC))
        make = partial(self._make, job, origin)
        try:
            encoded = await asyncio.gather(*(self._fetch(file, make) for _, file in outputs))
        except (FileGone, BadPixels) as error:
            raise ImagesGone from error
        infos = [
            ImageInfo(
                seed=seed,
                width=image.width,
                height=image.height,
                media_type=formats.media_type(job.request.format),
                bytes=len(image.data),
            )
            for (seed, _), image in zip(outputs, encoded, strict=True)
        ]
        return Finished(infos, [image.data for image in encoded], time.monotonic() - began)

    async def _fetch(self, file: OutputFile, make: Callable[[bytes], Encoded]) -> Encoded:
        """Return the finished image, read from ComfyUI's disk if this host has it."""
        path = self.comfy.path_of(file)
        if path is not None:
            with suppress(OSError):
                return await self._in_worker(lambda: make(path.read_bytes()))
        data = await self.comfy.view(file)
        return await self._in_worker(lambda: make(data))

    def _make(self, job: Job, origin: Origin, data: bytes) -> Encoded:
        """Turn pixels into a judged and signed file. Every image that leaves passes here.

        Runs in a worker. Raises ContentRefused, and then keeps nothing of the image.
        """
        pixels = encoding.open_pixels(data, alpha=job.alpha)
        encode = partial(self._encode, job, origin, pixels)
        # Judging takes longer: encode meanwhile if another worker is free.
        encoded = self.workers.submit(encode)
        try:
            self.guard.require_decent(_views(pixels))
        finally:
            is_mine = encoded.cancel()
        return encode() if is_mine else encoded.result()

    def _encode(self, job: Job, origin: Origin, image: Image.Image) -> Encoded:
        image_format, software = job.request.format, f"Easel ({job.engine})"
        encoded = encoding.encode(image, image_format, software, xmp_packet(origin))
        signed = self.guard.sign(encoded.data, formats.media_type(image_format), origin)
        return replace(encoded, data=signed)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread; a thread that hangs takes this server out of service."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeouts.judge_s) as limit:
                return await loop.run_in_executor(self.workers, work)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self.guard.out_of_order("the detector does not answer") from error


def _views(pixels: Image.Image) -> list[Image.Image]:
    """Return an image as it may be seen: with transparent parts on white, and with none of them.

    What is transparent still has colours, and a program can show them.
    """
    if pixels.mode == "RGB":
        return [pixels]
    ground = Image.new("RGBA", pixels.size, "white")
    return [pixels.convert("RGB"), Image.alpha_composite(ground, pixels).convert("RGB")]


def _load_codecs() -> None:
    blank = Image.new("RGB", (16, 16))
    for image_format in formats.MEDIA_TYPES.values():
        encoding.encode(blank, image_format, "")
    encoding.open_pixels(b"P6\n1 1\n255\n\0\0\0")
