"""Chatgpt: calm geometry, a mosaic of quarter circles in warm paper colours."""

import math

from PIL import Image, ImageDraw

from gpu_server.sketch.draw import canvas
from gpu_server.sketch.draw.brief import Box, Color, Draw, Random, Size
from gpu_server.sketch.draw.lettering import Lettering

LETTERING = Lettering("Bold", (34, 40, 49), spacing=0.1)


def paint(size: Size, random: Random, ramp: list[Color]) -> Image.Image:
    """Tile the upper three quarters and leave plain paper below for the words."""
    width, height = size[0] * 2, size[1] * 2
    paper = ramp[-1]
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    columns = int(random.integers(4, 7))
    cell = width / columns
    rows = max(1, round(height * 0.74 / cell))
    tall = height * 0.74 / rows
    previous: list[Color] = [paper] * columns
    for row in range(rows):
        for column in range(columns):
            avoid = {previous[column], previous[column - 1]}
            ground = _choose([color for color in ramp if color not in avoid], random)
            figure = _choose([color for color in ramp if color != ground], random)
            accent = _choose([color for color in ramp if color not in (ground, figure)], random)
            previous[column] = ground
            box = (column * cell, row * tall, (column + 1) * cell, (row + 1) * tall)
            draw.rectangle(box, ground)
            _MOTIFS[int(random.integers(len(_MOTIFS)))](draw, box, figure, accent, random)
    draw.rectangle((0, height * 0.74, width, height), paper)
    return canvas.grain(image.reduce(2), random, 3)


def _choose(colors: list[Color], random: Random) -> Color:
    return colors[int(random.integers(len(colors)))]


def _quarter(draw: Draw, box: Box, figure: Color, accent: Color, random: Random) -> None:
    left, top, right, bottom = box
    turn = int(random.integers(4))
    x, y = ((left, top), (right, top), (right, bottom), (left, bottom))[turn]
    for share, color in ((1.0, figure), (0.5, accent)):
        wide, tall = (right - left) * share, (bottom - top) * share
        draw.pieslice((x - wide, y - tall, x + wide, y + tall), turn * 90, turn * 90 + 90, color)


def _leaf(draw: Draw, box: Box, figure: Color, accent: Color, random: Random) -> None:
    """Draw a lens from corner to corner."""
    left, top, right, bottom = box
    flip = random.random() < 0.5
    turns = [math.pi / 2 * step / 24 for step in range(25)]
    lens = [(1 - math.cos(turn), math.sin(turn)) for turn in turns]
    lens += [(y, x) for x, y in reversed(lens)]
    for share, color in ((1.0, figure), (0.45, accent)):
        points = []
        for x, y in lens:
            across = 0.5 + (x - 0.5) * share
            across = 1 - across if flip else across
            down = 0.5 + (y - 0.5) * share
            points.append((left + across * (right - left), top + down * (bottom - top)))
        draw.polygon(points, color)


def _half(draw: Draw, box: Box, figure: Color, accent: Color, random: Random) -> None:
    start = int(random.integers(4)) * 90
    draw.pieslice(box, start, start + 180, figure)
    draw.pieslice(_inset(box, 0.27), start + 180, start + 360, accent)


def _rings(draw: Draw, box: Box, figure: Color, accent: Color, _: Random) -> None:
    for share, color in ((0.06, figure), (0.2, accent), (0.34, figure)):
        draw.ellipse(_inset(box, share), color)


def _dots(draw: Draw, box: Box, figure: Color, accent: Color, random: Random) -> None:
    left, top, right, bottom = box
    count = int(random.integers(3, 5))
    wide, tall = (right - left) / count, (bottom - top) / count
    for row in range(count):
        for column in range(count):
            x, y = left + column * wide, top + row * tall
            spot = (x, y, x + wide, y + tall)
            draw.ellipse(_inset(spot, 0.22), accent if row == column else figure)


def _stripes(draw: Draw, box: Box, figure: Color, accent: Color, random: Random) -> None:
    left, top, right, bottom = box
    upright = random.random() < 0.5
    for stripe in range(4):
        share = (2 * stripe + 1) / 8
        color = accent if stripe == 2 else figure
        if upright:
            x = left + (right - left) * share
            draw.rectangle((x, top, x + (right - left) / 8, bottom), color)
        else:
            y = top + (bottom - top) * share
            draw.rectangle((left, y, right, y + (bottom - top) / 8), color)


def _inset(box: Box, share: float) -> Box:
    left, top, right, bottom = box
    wide, tall = (right - left) * share, (bottom - top) * share
    return left + wide, top + tall, right - wide, bottom - tall


_MOTIFS = (_quarter, _quarter, _leaf, _leaf, _half, _rings, _dots, _stripes)
