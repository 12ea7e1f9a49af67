"""Pictures between nodes, their files, and the edge filter."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, PngImagePlugin

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]

_RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Picture:
    """RGB pixels (height, width, 3); `photo` is what an edge picture was made from."""

    pixels: Pixels
    photo: Pixels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def load(path: Path) -> Picture:
    """Decode an image file upright, as RGB.

    Raises PIL.UnidentifiedImageError for what is no picture, OSError for a truncated one.
    """
    with Image.open(path) as image:
        return Picture(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


def scale(picture: Picture, width: int, height: int, method: str, crop: str) -> Picture:
    """Resize; 0 for one side keeps the proportions, crop "center" cuts to the new proportions."""
    old_width, old_height = picture.size
    if width == 0 and height == 0:
        return picture
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    image = Image.fromarray(picture.pixels)
    resampling = _RESAMPLING[method]
    if crop == "center":
        image = ImageOps.fit(image, (width, height), resampling)
    else:
        image = image.resize((width, height), resampling)
    return Picture(np.asarray(image), picture.photo)


def edges(picture: Picture, low: float, high: float) -> Picture:
    """Canny edges, white on black; thresholds are gradient magnitudes of grey values 0-1."""
    weights = np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    grey = np.asarray(picture.pixels @ weights, np.float32)
    smooth = _convolve(_convolve(grey, (0.0545, 0.2442, 0.4026), 0), (0.0545, 0.2442, 0.4026), 1)
    padded = np.pad(smooth, 1, mode="edge")
    down = padded[2:] - padded[:-2]
    right = padded[:, 2:] - padded[:, :-2]
    dy = down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]
    dx = right[:-2] + 2 * right[1:-1] + right[2:]
    ridge = _thin(np.hypot(dx, dy), dx, dy)
    kept = _connect(ridge >= low, ridge >= high)
    grid = np.where(kept, np.uint8(255), np.uint8(0))
    return Picture(np.repeat(grid[:, :, None], 3, axis=2), picture.pixels)


def _convolve(plane: Plane, half_kernel: tuple[float, float, float], axis: int) -> Plane:
    outer, inner, middle = half_kernel
    pad = [(0, 0), (0, 0)]
    pad[axis] = (2, 2)
    padded = np.pad(plane, pad, mode="edge")
    size = plane.shape[axis]
    shifted = [padded.take(range(i, i + size), axis) for i in range(5)]
    total = outer * (shifted[0] + shifted[4]) + inner * (shifted[1] + shifted[3])
    return np.asarray(total + middle * shifted[2], np.float32)


def _thin(magnitude: Plane, dx: Plane, dy: Plane) -> Plane:
    """Keep a magnitude only where it is the largest along its own gradient."""
    m = np.pad(magnitude, 1)
    ax, ay = np.abs(dx), np.abs(dy)
    flat, steep = ay <= 0.4142 * ax, ay >= 2.4142 * ax
    falling = dx * dy >= 0
    ahead = np.where(falling, m[2:, 2:], m[2:, :-2])
    behind = np.where(falling, m[:-2, :-2], m[:-2, 2:])
    ahead = np.where(flat, m[1:-1, 2:], np.where(steep, m[2:, 1:-1], ahead))
    behind = np.where(flat, m[1:-1, :-2], np.where(steep, m[:-2, 1:-1], behind))
    return np.where((magnitude >= ahead) & (magnitude > behind), magnitude, np.float32(0))


def _connect(weak: npt.NDArray[np.bool_], strong: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Strong edges and the weak ones that touch them, directly or through others."""
    width = weak.shape[1] + 2
    open_cells = np.pad(weak & ~strong, 1).ravel()
    kept = np.pad(strong, 1).ravel()
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    front = np.flatnonzero(kept)
    while front.size:
        near = (front[:, None] + around).ravel()
        front = np.unique(near[open_cells[near]])
        open_cells[front] = False
        kept[front] = True
    return kept.reshape(weak.shape[0] + 2, width)[1:-1, 1:-1]


def png(pixels: Pixels, level: int, texts: Mapping[str, Any] | None = None) -> bytes:
    """PNG with each text as JSON in a tEXt chunk; `level` is zlib's, 0-9."""
    info = PngImagePlugin.PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, json.dumps(value))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info, compress_level=level)
    return buffer.getvalue()


def ppm(pixels: Pixels) -> bytes:
    """Binary PPM (P6, 8 bit)."""
    height, width = pixels.shape[:2]
    return b"P6\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(pixels).tobytes()


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    """JPEG, for previews."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
