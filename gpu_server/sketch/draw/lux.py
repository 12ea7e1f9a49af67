"""Lux: art deco in gold on a dark ground."""

import math

import numpy as np
from PIL import Image, ImageDraw

from gpu_server.sketch.draw import canvas
from gpu_server.sketch.draw.brief import Color, Draw, Point, Random, Size
from gpu_server.sketch.draw.lettering import Lettering

LETTERING = Lettering("Light", (250, 232, 180), centred=True, spacing=0.25)


def paint(size: Size, random: Random, ramp: list[Color]) -> Image.Image:
    """Paint a sunburst over scales or fans, a frame, and a plaque for the words."""
    width, height = size
    ground, shade, soft, bronze, gold, shine = ramp
    back = canvas.gradient(width, height, [shade, ground])
    centre = (width * 0.5, height * random.uniform(0.30, 0.38))
    back = canvas.glow(back, centre, min(size) * 0.6, canvas.mix(soft, bronze, 0.25))
    lines = Image.new("L", (width * 2, height * 2), 0)
    draw = ImageDraw.Draw(lines)
    unit = min(size) * 2
    centre2 = (centre[0] * 2, centre[1] * 2)
    radius = unit * random.uniform(0.15, 0.21)
    _burst(draw, centre2, radius, int(random.integers(18, 41)) * 2)
    if random.random() < 0.5:
        _scales(draw, lines.size, unit * random.uniform(0.07, 0.11), unit)
    else:
        _fans(draw, lines.size, int(random.integers(3, 6)), unit)
    _medallion(draw, centre2, radius, int(random.choice([3, 4, 5, 6, 8, 12])), unit)
    _frame(draw, lines.size, unit)
    _plaque(draw, lines.size, unit)
    metal = _metal(size, [bronze, gold, shine, gold, bronze], random)
    return canvas.grain(Image.composite(metal, back, lines.reduce(2)), random, 3)


def _metal(size: Size, colors: list[Color], random: Random) -> Image.Image:
    """Make gold that gleams in slanting bands."""
    small = (max(2, size[0] // 8), max(2, size[1] // 8))
    x = np.linspace(0, 1, small[0])[None, :]
    y = np.linspace(0, 1, small[1])[:, None]
    phase = (x * random.uniform(1.2, 2.2) + y * random.uniform(1.0, 2.0) + random.uniform(0, 1)) % 1
    stops = np.linspace(0, 1, len(colors))
    bands = [np.interp(phase, stops, [color[i] for color in colors]) for i in range(3)]
    image = Image.fromarray(np.stack(bands, axis=2).astype(np.uint8))
    return image.resize(size, Image.Resampling.BICUBIC)


def _burst(draw: Draw, centre: Point, radius: float, rays: int) -> None:
    unit = min(draw.im.size)
    far = math.hypot(*draw.im.size)
    for ray in range(rays):
        angle = math.tau * (ray + 0.5) / rays
        start = radius * (1.18 if ray % 2 else 1.5)
        end = far if ray % 2 else radius * 3.2
        line = [
            (centre[0] + reach * math.cos(angle), centre[1] + reach * math.sin(angle))
            for reach in (start, end)
        ]
        draw.line(line, 90 if ray % 2 else 190, max(1, round(unit / (700 if ray % 2 else 420))))


def _scales(draw: Draw, size: Size, cell: float, unit: float) -> None:
    top = size[1] * 0.60
    rows = int((size[1] - top) / (cell * 0.5)) + 3
    for row in range(rows):
        y = top + row * cell * 0.5
        offset = cell * 0.5 * (row % 2)
        for column in range(-1, int(size[0] / cell) + 2):
            x = column * cell + offset
            for ring in (1.0, 0.72, 0.44):
                reach = cell * 0.5 * ring
                box = (x - reach, y - reach, x + reach, y + reach)
                fill = 0 if ring == 1.0 else None
                draw.pieslice(box, 180, 360, fill, 200, max(1, round(unit / 700)))


def _fans(draw: Draw, size: Size, count: int, unit: float) -> None:
    spread = size[0] / count
    for row in (0, 1):
        for column in range(-1, count + 1):
            x = (column + 0.5 + 0.5 * row) * spread
            y = size[1] * (0.80 + 0.2 * row)
            for ring in range(7, 0, -1):
                reach = spread * 0.5 * ring / 7
                box = (x - reach, y - reach, x + reach, y + reach)
                draw.pieslice(box, 180, 360, 0, 60 + 20 * ring, max(1, round(unit / 600)))
            for blade in range(1, 8):
                angle = math.pi + math.pi * blade / 8
                tip = (x + spread * 0.5 * math.cos(angle), y + spread * 0.5 * math.sin(angle))
                draw.line([(x, y), tip], 130, max(1, round(unit / 800)))


def _medallion(draw: Draw, centre: Point, radius: float, sides: int, unit: float) -> None:
    x, y = centre
    thin, thick = max(1, round(unit / 500)), max(2, round(unit / 180))
    for reach, stroke in ((1.1, thick), (1.02, thin), (0.62, thin)):
        r = radius * reach
        box = (x - r, y - r, x + r, y + r)
        draw.ellipse(box, 0 if reach == 1.1 else None, 255, stroke)
    for turn in range(sides * 2):
        angle = math.pi * turn / sides - math.pi / 2
        for lean in (-1, 1):
            swing = angle + lean * math.pi / sides * 1.5
            start = (x + radius * 0.62 * math.cos(angle), y + radius * 0.62 * math.sin(angle))
            end = (x + radius * math.cos(swing), y + radius * math.sin(swing))
            draw.line([start, end], 220, thin)
    if sides > 2:
        draw.regular_polygon((x, y, radius * 0.5), sides, rotation=0, fill=230, outline=255)
        draw.regular_polygon((x, y, radius * 0.38), sides, rotation=180 // sides, fill=0)
        draw.regular_polygon((x, y, radius * 0.2), sides, rotation=0, fill=255)


def _frame(draw: Draw, size: Size, unit: float) -> None:
    right, bottom = size[0] - 1, size[1] - 1
    for inset, stroke in ((0.028, 130), (0.042, 420)):
        pad = unit * inset
        width = max(1, round(unit / stroke))
        draw.rectangle((pad, pad, right - pad, bottom - pad), outline=255, width=width)
    for step in range(4):
        reach = unit * (0.11 - 0.02 * step)
        pad = unit * 0.042 + step * unit * 0.012
        thin = max(1, round(unit / 500))
        for x, dx in ((pad, reach), (right - pad, -reach)):
            for y, dy in ((pad, reach), (bottom - pad, -reach)):
                draw.line([(x + dx, y), (x, y), (x, y + dy)], 255, thin)


def _plaque(draw: Draw, size: Size, unit: float) -> None:
    box = (size[0] * 0.09, size[1] * 0.66, size[0] * 0.91, size[1] * 0.90)
    thin = max(1, round(unit / 420))
    draw.rounded_rectangle(box, unit * 0.03, 0, 255, thin)
    pad = unit * 0.014
    inner = (box[0] + pad, box[1] + pad, box[2] - pad, box[3] - pad)
    draw.rounded_rectangle(inner, unit * 0.02, None, 150, max(1, thin // 2))
