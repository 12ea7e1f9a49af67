"""From ComfyUI's output files to pictures: fetched, decoded and encoded off the GPU's path."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from PIL import Image

from gpu_server import outputs, schemas
from gpu_server.comfy_client import ComfyClient, FileGone, OutputFile
from gpu_server.jobs import Job
from gpu_server.outputs import BadPixels, Encoded
from gpu_server.schemas import ImageInfo

T = TypeVar("T")


class PicturesGone(Exception):
    """ComfyUI has drawn the pictures, but does not have them any more."""


@dataclass(frozen=True)
class Drawn:
    """Where ComfyUI put a job's pictures; image k has the seed `seeds[k]`."""

    files: tuple[OutputFile, ...]
    seeds: tuple[int, ...]


class Pictures:
    def __init__(self, comfy: ComfyClient, workers: ThreadPoolExecutor) -> None:
        self._comfy = comfy
        self._workers = workers

    def warm_up(self) -> None:
        """Load Pillow's codecs, which the first picture would else wait for."""
        blank = Image.new("RGB", (16, 16))
        for image_format in schemas.MEDIA_TYPES.values():
            outputs.encode(blank, image_format, "")
        outputs.open_pixels(b"P6\n1 1\n255\n\0\0\0")

    async def collect(self, job: Job, drawn: Drawn) -> list[bytes]:
        """The encoded pictures, in the order of their seeds, which are noted in the job.

        Raises PicturesGone or Unreachable.
        """
        began = time.monotonic()
        try:
            files = await asyncio.gather(*(self._comfy.view(file) for file in drawn.files))
            pixels = await asyncio.gather(
                *(self._in_worker(partial(outputs.open_pixels, file)) for file in files)
            )
        except (FileGone, BadPixels) as error:
            raise PicturesGone from error
        encoded = await self._finish(job, list(pixels))
        job.timings.encode_ms = round((time.monotonic() - began) * 1000, 1)
        job.images = [
            ImageInfo(
                seed=seed,
                width=image.width,
                height=image.height,
                media_type=schemas.media_type(job.order.format),
                bytes=len(image.data),
            )
            for seed, image in zip(drawn.seeds, encoded, strict=True)
        ]
        return [image.data for image in encoded]

    async def _finish(self, job: Job, pixels: list[Image.Image]) -> list[Encoded]:
        """Whatever leaves this server passes here: decoded pixels in, finished files out."""
        software = f"Easel ({job.engine})"
        return await asyncio.gather(
            *(
                self._in_worker(partial(outputs.encode, image, job.order.format, software))
                for image in pixels
            )
        )

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)
