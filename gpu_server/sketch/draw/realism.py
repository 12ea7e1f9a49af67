"""Realism: mist between mountain ridges, firs, a low sun and a lake."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from gpu_server.sketch.draw import canvas
from gpu_server.sketch.draw.brief import Color, Pixels, Point, Random, Size
from gpu_server.sketch.draw.lettering import Lettering

LETTERING = Lettering("SemiBold", (255, 255, 255), outline=0.03, outline_color=(20, 28, 32))


def paint(size: Size, random: Random, ramp: list[Color]) -> Image.Image:
    """Paint a landscape whose lower quarter is calm, for the words."""
    width, height = size
    unit = min(size)
    dark, deep, middle, mist, warm, light = ramp
    sky = canvas.gradient(width, height, [canvas.mix(middle, mist, 0.45), mist, warm, light])
    sun = (random.uniform(0.2, 0.8) * width, random.uniform(0.26, 0.42) * height)
    sky = canvas.glow(sky, sun, unit * 0.55, light)
    _sun(sky, sun, unit * random.uniform(0.035, 0.075), canvas.mix(light, (255, 255, 255), 0.7))
    pixels = np.asarray(sky).copy()
    shore = int(height * random.uniform(0.72, 0.8))
    layers = 6
    for layer in range(layers):
        near = layer / (layers - 1)
        base = height * (0.40 + 0.30 * near**1.2)
        swing = unit * (0.16 - 0.09 * near)
        line = base - swing * canvas.ridge(random, width, 0.48, random.uniform(2, 4))
        if layer >= layers - 3:
            line -= _firs(random, width, unit * (0.02 + 0.05 * max(0.0, near - 0.5)))
        color = canvas.mix(canvas.mix(mist, warm, 0.3), dark, near**0.85)
        foot = canvas.mix(color, mist, 0.65 * (1 - 0.5 * near))
        canvas.fill_below(pixels, line.astype(np.float32), color, foot, height * 0.3)
    _lake(pixels, shore, canvas.mix(deep, mist, 0.25), random)
    image = Image.fromarray(pixels)
    _birds(image, random, sun, unit, deep)
    return canvas.grain(image, random, 4)


def _sun(image: Image.Image, centre: Point, radius: float, color: Color) -> None:
    box = [round(v) for v in (centre[0] - radius, centre[1] - radius)]
    side = round(radius * 2)
    mask = Image.new("L", (side * 4, side * 4), 0)
    ImageDraw.Draw(mask).ellipse((0, 0, side * 4 - 1, side * 4 - 1), 255)
    mask = mask.resize((side, side), Image.Resampling.LANCZOS).filter(ImageFilter.GaussianBlur(1))
    image.paste(Image.new("RGB", (side, side), color), (box[0], box[1]), mask)


def _firs(random: Random, width: int, tall: float) -> canvas.Plane:
    """Compute the heights of a row of firs above the ground."""
    x = np.arange(width, dtype=np.float32)
    heights = np.zeros(width, np.float32)
    for _ in range(int(width / (tall * 0.55)) + 4):
        foot = random.uniform(0, width)
        size = tall * random.uniform(0.35, 1.0)
        left, right = max(0, int(foot - size)), min(width, int(foot + size) + 1)
        aside = np.abs(x[left:right] - foot) / (size * 0.26)
        tier = (aside * 5) % 1.0
        profile = size * np.clip(1 - aside + 0.09 * tier, 0, None) * (aside < 1)
        np.maximum(heights[left:right], profile, out=heights[left:right])
    return heights


def _lake(pixels: Pixels, shore: int, water: Color, random: Random) -> None:
    """Mirror what is above the shore in place, darker and stretched into ripples."""
    height = pixels.shape[0]
    depth = height - shore
    rows = np.arange(depth, dtype=np.float32)
    wave = np.sin(rows * (0.9 / (1 + rows * 0.02)) + random.uniform(0, 6))
    source = np.clip(shore - 1 - rows * 1.35 + wave * (1 + rows * 0.03), 0, shore - 1)
    mirror = pixels[source.astype(np.int32)].astype(np.float32)
    mirror += 0.45 * (np.array(water, np.float32) - mirror)
    mirror += (np.maximum(0, wave - 0.8) * 60 * np.exp(-rows / (0.5 * depth)))[:, None, None]
    mirror *= np.linspace(1.0, 0.55, depth, dtype=np.float32)[:, None, None]
    pixels[shore:] = np.clip(mirror, 0, 255)


def _birds(image: Image.Image, random: Random, sun: Point, unit: int, color: Color) -> None:
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(3, 9))):
        x = sun[0] + random.uniform(-0.3, 0.3) * unit
        y = sun[1] - random.uniform(0.02, 0.2) * unit
        span = unit * random.uniform(0.006, 0.014)
        points = [(x - span, y - span * 0.5), (x - span * 0.4, y - span * 0.55), (x, y)]
        points += [(x + span * 0.4, y - span * 0.55), (x + span, y - span * 0.5)]
        draw.line(points, color, max(1, round(unit / 500)), joint="curve")
