"""Anime: flat bright colours, towering clouds, a halftone sun, petals in the wind."""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from gpu_server.sketch.draw import canvas
from gpu_server.sketch.draw.brief import Color, Draw, Point, Random, Size
from gpu_server.sketch.draw.lettering import Lettering

LETTERING = Lettering("ExtraBold", (255, 255, 255), outline=0.09, outline_color=(30, 24, 70))


def paint(size: Size, random: Random, ramp: list[Color]) -> Image.Image:
    """Paint a wide sky over hills, twice as large as needed: reducing it smooths the edges."""
    width, height = size[0] * 2, size[1] * 2
    unit = min(width, height)
    ink, blue, sky, bloom, pale, white = ramp
    small = canvas.gradient(size[0], size[1], [blue, sky, canvas.mix(sky, pale, 0.6), pale, bloom])
    image = small.resize((width, height), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(image)
    sun = (width * random.uniform(0.18, 0.82), height * random.uniform(0.2, 0.36))
    radius = unit * random.uniform(0.13, 0.2)
    _rays(draw, sun, (width, height), canvas.mix(sky, white, 0.2), random)
    _sun(draw, sun, radius, canvas.mix(bloom, white, 0.15), white)
    for layer in range(3):
        floor = height * (0.56 + 0.09 * layer)
        shade = canvas.mix(canvas.mix(sky, blue, 0.35), pale, 0.35 + 0.2 * layer)
        light = canvas.mix(canvas.mix(pale, sky, 0.3), white, 0.25 + 0.35 * layer)
        _cloud_bank(draw, floor, 1 - layer / 2, (shade, light), random)
    slopes = [canvas.mix(blue, ink, 0.25), canvas.mix(ink, blue, 0.3), ink]
    _hills(draw, (width, height), slopes, random)
    _petals(draw, (width, height), bloom, white, random)
    return image.reduce(2)


def _rays(draw: Draw, centre: Point, size: Size, color: Color, random: Random) -> None:
    far = math.hypot(*size)
    turn = random.uniform(0, 1)
    rays = int(random.integers(9, 16))
    for ray in range(rays):
        start = math.tau * (ray + turn) / rays
        points = [
            (centre[0] + far * math.cos(angle), centre[1] + far * math.sin(angle))
            for angle in (start, start + math.pi / rays * 0.8)
        ]
        draw.polygon([centre, *points], color)


def _sun(draw: Draw, centre: Point, radius: float, color: Color, rim: Color) -> None:
    x, y = centre
    edge = radius * 1.07
    draw.ellipse((x - edge, y - edge, x + edge, y + edge), rim)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), color)
    step = radius / 11
    for row in range(-11, 12):
        for column in range(-11, 12):
            dx, dy = (column + 0.5 * (row % 2)) * step, row * step
            dot = step * 0.55 * (0.5 + 0.5 * dy / radius)
            if dot > 0.6 and math.hypot(dx, dy) + dot < radius:
                draw.ellipse((x + dx - dot, y + dy - dot, x + dx + dot, y + dy + dot), rim)


def _cloud_bank(
    draw: Draw, floor: float, depth: float, colors: tuple[Color, Color], random: Random
) -> None:
    """Draw a row of puffs, shaded first, then lit on top, shifted up and left.

    `depth` is 1 for the farthest bank, which towers highest, and 0 for the nearest.
    """
    shade, light = colors
    size = draw.im.size
    unit = min(size)
    puffs = []
    for _ in range(int(random.integers(3, 6))):
        middle = random.uniform(-0.05, 1.05) * size[0]
        tall = unit * random.uniform(0.1, 0.15 + 0.12 * depth)
        for _ in range(16):
            lift = random.uniform(0, 1)
            spread = tall * 1.3 * (1 - 0.75 * lift)
            radius = tall * random.uniform(0.16, 0.34) * (1.15 - 0.5 * lift)
            puffs.append((middle + random.uniform(-1, 1) * spread, floor - lift * tall, radius))
    for x, y, radius in puffs:
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), shade)
    draw.rectangle((0, floor, size[0], size[1]), shade)
    for middle, level, radius in puffs:
        inner = radius * 0.86
        x, y = middle - radius * 0.12, level - radius * 0.2
        draw.ellipse((x - inner, y - inner, x + inner, y + inner), light)


def _hills(draw: Draw, size: Size, colors: list[Color], random: Random) -> None:
    width, height = size
    for index, color in enumerate(colors):
        base = height * (0.74 + 0.08 * index)
        line = base - height * 0.06 * canvas.ridge(random, 129, 0.35, 2 + index)
        xs = np.linspace(0, width, 129)
        if index == len(colors) - 1:
            _grass(draw, xs, line, color, random)
        points = [*zip(xs.tolist(), line.tolist(), strict=True), (width, height), (0, height)]
        draw.polygon(points, color)


def _grass(
    draw: Draw, xs: npt.NDArray[np.float64], line: canvas.Plane, color: Color, random: Random
) -> None:
    width = draw.im.size[0]
    blade = width / 90
    for _ in range(170):
        x = random.uniform(0, width)
        y = float(np.interp(x, xs, line))
        lean, tall = random.uniform(-0.8, 0.8) * blade, blade * random.uniform(0.6, 1.9)
        half = blade * 0.16
        draw.polygon([(x - half, y + 4), (x + lean, y - tall), (x + half, y + 4)], color)


def _petals(draw: Draw, size: Size, color: Color, light: Color, random: Random) -> None:
    unit = min(size)
    for _ in range(46):
        x, y = random.uniform(0, size[0]), random.uniform(0, size[1] * 0.9)
        reach, turn = unit * random.uniform(0.006, 0.02), random.uniform(0, math.tau)
        slim = random.uniform(0.35, 0.6)
        points = []
        for step in range(14):
            angle = math.tau * step / 14
            dx, dy = reach * math.cos(angle), reach * slim * math.sin(angle)
            across = dx * math.cos(turn) - dy * math.sin(turn)
            down = dx * math.sin(turn) + dy * math.cos(turn)
            points.append((x + across, y + down))
        draw.polygon(points, canvas.mix(color, light, random.uniform(0, 0.7)))
