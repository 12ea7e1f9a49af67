"""From ComfyUI's output files to pictures: fetched, decoded and encoded off the GPU's path."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from PIL import Image

from gpu_server.comfy.answers import FileGone, OutputFile
from gpu_server.comfy.client import ComfyClient
from gpu_server.comfy.engine import SKETCH
from gpu_server.jobs.job import Job
from gpu_server.pictures import encoding, formats
from gpu_server.pictures.encoding import BadPixels, Encoded
from gpu_server.pictures.formats import ImageFormat
from gpu_server.pictures.provenance import Origin, xmp_packet
from gpu_server.safety.guard import OUT_OF_ORDER, Guard, origin_of
from gpu_server.schemas import ImageInfo
from gpu_server.timeouts import Patience
from web import errors
from workflows.catalog import Catalog

T = TypeVar("T")


class PicturesGone(Exception):
    """ComfyUI has drawn the pictures, but does not have them any more."""


@dataclass(frozen=True)
class Drawn:
    """Where ComfyUI put a job's pictures; image k has the seed `seeds[k]`."""

    files: tuple[OutputFile, ...]
    seeds: tuple[int, ...]


class Pictures:
    def __init__(
        self,
        comfy: ComfyClient,
        catalog: Catalog,
        guard: Guard,
        workers: ThreadPoolExecutor,
        patience: Patience,
    ) -> None:
        self._comfy = comfy
        self._catalog = catalog
        self._guard = guard
        self._workers = workers
        self._patience = patience

    def require_guard(self) -> None:
        """Raises EngineLost when no picture could be handed out: another pod may draw it."""
        if self._guard.fault:
            raise errors.EngineLost(OUT_OF_ORDER)

    def warm_up(self) -> None:
        """Load Pillow's codecs, which the first picture would else wait for."""
        blank = Image.new("RGB", (16, 16))
        for image_format in formats.MEDIA_TYPES.values():
            encoding.encode(blank, image_format, "")
        encoding.open_pixels(b"P6\n1 1\n255\n\0\0\0")

    async def collect(self, job: Job, drawn: Drawn) -> list[bytes]:
        """The encoded pictures, in the order of their seeds, which are noted in the job.

        Raises PicturesGone, Unreachable, ContentRefused, or EngineLost with the guard broken.
        """
        began = time.monotonic()
        software, origin = f"Easel ({job.engine})", self._origin(job)
        finish = partial(self._finished, job.order.format, software, origin)
        try:
            encoded = await asyncio.gather(*(self._fetched(file, finish) for file in drawn.files))
        except (FileGone, BadPixels) as error:
            raise PicturesGone from error
        job.timings.encode_ms = round((time.monotonic() - began) * 1000, 1)
        job.images = [
            ImageInfo(
                seed=seed,
                width=image.width,
                height=image.height,
                media_type=formats.media_type(job.order.format),
                bytes=len(image.data),
            )
            for seed, image in zip(drawn.seeds, encoded, strict=True)
        ]
        return [image.data for image in encoded]

    async def _fetched(self, file: OutputFile, finish: Callable[[bytes], Encoded]) -> Encoded:
        """The finished picture of an output file, read from ComfyUI's disk if that is ours."""
        path = self._comfy.path_of(file)
        if path is not None:
            with suppress(OSError):
                return await self._in_worker(lambda: finish(path.read_bytes()))
        data = await self._comfy.view(file)
        return await self._in_worker(lambda: finish(data))

    def _finished(
        self, image_format: ImageFormat, software: str, origin: Origin, data: bytes
    ) -> Encoded:
        """Whatever leaves this server passes here: pixels in, a judged and signed file out.

        Runs in a worker. Raises ContentRefused, and then nothing of the picture is kept.
        """
        pixels = encoding.open_pixels(data)
        encode = partial(self._file, image_format, software, origin, pixels)
        # Beside the judging, which takes longer, if another worker is free.
        encoded = self._workers.submit(encode)
        try:
            self._guard.require_decent([pixels])
        finally:
            is_mine = encoded.cancel()
        return encode() if is_mine else encoded.result()

    def _file(
        self, image_format: ImageFormat, software: str, origin: Origin, image: Image.Image
    ) -> Encoded:
        encoded = encoding.encode(image, image_format, software, xmp_packet(origin))
        signed = self._guard.sign(encoded.data, formats.media_type(image_format), origin)
        return replace(encoded, data=signed)

    def _origin(self, job: Job) -> Origin:
        mode, style = job.style
        ai = not job.engine.startswith(SKETCH)
        model = self._catalog.modes[mode].graph_spec(style).model if ai else job.engine
        return origin_of(mode, style, model, ai=ai)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """The result of `work`; a worker that never ends takes this server out of service."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience.judge_s) as limit:
                return await loop.run_in_executor(self._workers, work)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._guard.out_of_order("the detector does not answer") from error
