"""Images with the spectrum of a photograph, which compress like one."""

import io

import numpy as np
from PIL import Image

SIDE = 1024
_LAYERS = ((8, 1.0), (32, 0.5), (128, 0.25), (512, 0.12), (1024, 0.035))
"""Side of a noise image in pixels, and its weight; finer noise weighs less."""


def photo_like(side: int = SIDE) -> Image.Image:
    """Draw the same image every time, at 1024 px, and scale it to `side`."""
    random = np.random.default_rng(4)
    pixels = np.zeros((SIDE, SIDE, 3))
    for grain, weight in _LAYERS:
        for channel in range(3):
            noise = Image.fromarray(random.standard_normal((grain, grain)).astype(np.float32))
            scaled = noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            pixels[..., channel] += weight * np.asarray(scaled)
    pixels = np.clip((pixels - pixels.mean()) / pixels.std() * 0.22 + 0.5, 0, 1) * 255
    return Image.fromarray(pixels.astype(np.uint8)).resize((side, side))


def as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
