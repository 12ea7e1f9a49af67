"""Small drawing tools: gradients, glows, ridges, grain."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from gpu_server.sketch.draw.brief import Color, Pixels, Point, Random

Plane = npt.NDArray[np.float32]


def gradient(width: int, height: int, colors: list[Color]) -> Image.Image:
    """Blend from the first colour at the top to the last at the bottom."""
    stops = np.linspace(0, 1, len(colors))
    rows = np.linspace(0, 1, height)
    channels = [np.interp(rows, stops, [color[i] for color in colors]) for i in range(3)]
    column = np.stack(channels, axis=1).astype(np.uint8)[:, None, :]
    return Image.fromarray(np.repeat(column, width, axis=1))


def glow(image: Image.Image, centre: Point, radius: float, color: Color) -> Image.Image:
    """Add light that falls off around a point; it is smooth, so a coarse mask suffices."""
    width, height = image.size
    small = (max(2, width // 8), max(2, height // 8))
    x = (np.arange(small[0]) + 0.5) * (width / small[0]) - centre[0]
    y = (np.arange(small[1]) + 0.5) * (height / small[1]) - centre[1]
    distance = np.hypot(x[None, :], y[:, None]) / radius
    mask = Image.fromarray((255 * np.exp(-2 * distance**2)).astype(np.uint8))
    mask = mask.resize(image.size, Image.Resampling.BICUBIC)
    return Image.composite(Image.new("RGB", image.size, color), image, mask)


def ridge(random: Random, width: int, roughness: float, waves: float) -> Plane:
    """Make a skyline of `width` points between about -1 and 1: `waves` humps and finer ones."""
    x = np.linspace(0, 1, width, dtype=np.float32)
    line = np.zeros(width, np.float32)
    weight, total = 1.0, 0.0
    while waves < width / 6:
        knots = random.uniform(-1, 1, int(waves) + 3).astype(np.float32)
        position = x * (len(knots) - 2.001) + random.uniform(0, 0.9)
        low = np.minimum(position.astype(np.int32), len(knots) - 2)
        part = position - low
        part = part * part * (3 - 2 * part)
        line += weight * (knots[low] * (1 - part) + knots[low + 1] * part)
        total += weight
        weight *= roughness
        waves *= 2
    return line / np.float32(total or 1)


def fill_below(pixels: Pixels, line: Plane, top: Color, bottom: Color, depth: float) -> None:
    """Paint everything below a skyline (y per column) in place, with a smooth edge.

    The colour changes from `top` at the line's height to `bottom` over `depth` rows.
    """
    height = pixels.shape[0]
    first = max(0, int(line.min()) - 1)
    if first >= height:
        return
    rows = np.arange(first, height, dtype=np.float32)[:, None]
    # Steep parts of the line get as soft an edge as flat ones.
    steep = np.sqrt(1 + np.gradient(line) ** 2).astype(np.float32)
    mask = np.clip((rows - line) / steep + np.float32(0.5), 0, 1)
    shade = np.clip((rows[:, 0] - first) / depth, 0, 1)
    for channel in range(3):
        color = (top[channel] + (bottom[channel] - top[channel]) * shade)[:, None]
        below = pixels[first:, :, channel]
        below[:] = below + mask * (color - below)


def grain(image: Image.Image, random: Random, amount: int) -> Image.Image:
    """Add fine noise like that of paper or film; `amount` is in levels of brightness."""
    pixels = np.asarray(image)
    tile = random.integers(-amount, amount + 1, (128, 128), dtype=np.int16)
    height, width = pixels.shape[:2]
    noise = np.tile(tile, (height // 128 + 1, width // 128 + 1))[:height, :width, None]
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def mix(first: Color, second: Color, share: float) -> Color:
    """Mix two colours: `share` 0 is the first, 1 the second."""
    blend = [round(a + (b - a) * share) for a, b in zip(first, second, strict=True)]
    return blend[0], blend[1], blend[2]
