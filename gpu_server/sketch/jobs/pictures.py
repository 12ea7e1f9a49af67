"""Pictures as they pass between nodes: loading, scaling, edges and encoding."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageOps, PngImagePlugin

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
Cells = npt.NDArray[np.intp]  # positions in a flattened plane

_RESAMPLING = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


_SUBJECT_PX, _BORDER_PARTS, _SUBJECT_LIKELY = 256, 12, 0.4


@dataclass(frozen=True)
class Picture:
    """RGB or RGBA pixels (height, width, 3 or 4); `photo`: the source of an edge picture."""

    pixels: Pixels
    photo: Pixels | None = None

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]


def load(path: Path) -> Picture:
    """Decode an image file upright, as RGB. Raises OSError for what is no image, or half of one."""
    with Image.open(path) as image:
        return Picture(np.asarray(ImageOps.exif_transpose(image).convert("RGB")))


def load_channel(path: Path, channel: str) -> Plane | None:
    """Return a channel of an image file from 0 to 1; None for the alpha of one without."""
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if channel == "alpha" and "A" not in image.getbands():
            return None
        plane = image.convert("RGBA").getchannel(channel[0].upper())
        return np.asarray(plane, np.float32) / np.float32(255)


def fit_mask(mask: Plane, size: tuple[int, int]) -> Plane:
    """Stretch a mask to a picture's width and height."""
    stretched = Image.fromarray((mask * 255).astype(np.uint8)).resize(size)
    return np.asarray(stretched, np.float32) / np.float32(255)


def scale(picture: Picture, width: int, height: int, method: str, crop: str) -> Picture:
    """Resize: 0 for one side keeps the proportions, crop "center" crops to the new ones."""
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


def subject(picture: Picture) -> Plane:
    """Guess what a picture shows: a soft mask, from 0 to 1, of one piece without holes.

    What is near the middle and has other colours than the border counts.
    """
    small = Image.fromarray(picture.pixels[:, :, :3])
    small.thumbnail((_SUBJECT_PX, _SUBJECT_PX))
    cells = np.asarray(small.filter(ImageFilter.GaussianBlur(2)), np.float32)
    border = np.concatenate((cells[0], cells[-1], cells[:, 0], cells[:, -1]))
    ground = np.array([part.mean(axis=0) for part in np.array_split(border, _BORDER_PARTS)])
    distance = np.linalg.norm(cells[:, :, None] - ground, axis=3).min(axis=2)
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in cells.shape[:2])
    middle = np.exp(-1.4 * (y[:, None] ** 2 + x**2))
    likely = middle * (0.5 + distance / max(float(distance.max()), 1.0))
    hard = Image.fromarray(np.where(likely > _SUBJECT_LIKELY, np.uint8(255), np.uint8(0)))
    closed = hard.filter(ImageFilter.MaxFilter(15)).filter(ImageFilter.MinFilter(15))
    around = ImageOps.expand(closed, 1, 0)
    ImageDraw.floodfill(around, (0, 0), 128)
    whole = around.point(lambda value: 0 if value == 128 else 255)
    whole = whole.crop((1, 1, whole.width - 1, whole.height - 1)).filter(
        ImageFilter.MedianFilter(9)
    )
    soft = whole.resize(picture.size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))
    return np.asarray(soft, np.float32) / np.float32(255)


def edges(picture: Picture, low: float, high: float) -> Picture:
    """Find Canny edges, white on black; thresholds are gradients of grey values from 0 to 1."""
    grey = Image.fromarray(picture.pixels).convert("L").filter(ImageFilter.GaussianBlur(1))
    plane = np.pad(np.asarray(grey, np.float32) / np.float32(255), 1, mode="edge")
    down = plane[2:] - plane[:-2]
    right = plane[:, 2:] - plane[:, :-2]
    dy = np.pad(down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:], 1)
    dx = np.pad(right[:-2] + 2 * right[1:-1] + right[2:], 1)
    magnitude = np.hypot(dx, dy)
    ridge = _ridge(magnitude, dx, dy, low)
    kept = _connected(ridge, magnitude, high)
    grid = np.where(kept[1:-1, 1:-1], np.uint8(255), np.uint8(0))
    return Picture(np.repeat(grid[:, :, None], 3, axis=2), picture.pixels)


def _ridge(magnitude: Plane, dx: Plane, dy: Plane, low: float) -> Cells:
    """Find the cells over the threshold with the largest magnitude along their own gradient.

    All planes have a margin of one empty cell, and the flat positions returned count it.
    """
    width = magnitude.shape[1]
    level, x, y = magnitude.ravel(), dx.ravel(), dy.ravel()
    cells = np.flatnonzero(level >= low)
    x, y = x[cells], y[cells]
    across, along = np.abs(x), np.abs(y)
    diagonal = np.where(x * y >= 0, width + 1, width - 1)
    step = np.where(along <= 0.4142 * across, 1, diagonal)
    step = np.where(along >= 2.4142 * across, width, step)
    here = level[cells]
    return cells[(here >= level[cells + step]) & (here > level[cells - step])]


def _connected(cells: Cells, magnitude: Plane, high: float) -> npt.NDArray[np.bool_]:
    """Keep the cells over the threshold, and those connected to them through others."""
    width = magnitude.shape[1]
    around = np.array([-width - 1, -width, -width + 1, -1, 1, width - 1, width, width + 1])
    is_open = np.zeros(magnitude.size, np.bool_)
    is_open[cells] = True
    kept = np.zeros(magnitude.size, np.bool_)
    front = cells[magnitude.ravel()[cells] >= high]
    while front.size:
        is_open[front] = False
        kept[front] = True
        near = (front[:, None] + around).ravel()
        front = np.unique(near[is_open[near]])
    return kept.reshape(magnitude.shape)


def png(pixels: Pixels, level: int, texts: Mapping[str, Any] | None = None) -> bytes:
    """Encode as PNG, with each text as JSON in a tEXt chunk; `level` is zlib's, 0 to 9."""
    info = PngImagePlugin.PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, json.dumps(value))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=info, compress_level=level)
    return buffer.getvalue()


def ppm(pixels: Pixels) -> bytes:
    """Encode as binary PPM (P6, 8 bit), or with alpha as Pillow's variant of it."""
    height, width, channels = pixels.shape
    kind = b"PyRGBA" if channels == 4 else b"P6"
    return kind + b"\n%d %d\n255\n" % (width, height) + np.ascontiguousarray(pixels).tobytes()


def jpeg(image: Image.Image) -> bytes:
    """Encode as JPEG, for previews."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
