"""Restyle a photo: its areas in the style's colours, its edges in the style's ink."""

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from gpu_server.sketch.draw.brief import Color, Control

_BANDS = {"realism": 14, "lux": 7, "anime": 5, "chatgpt": 6}  # levels of brightness
_INK = {"realism": 0, "lux": 4, "anime": 0, "chatgpt": 0}  # index into the ramp
# Share of the photo's own colours.
_TINT = {"realism": 0.5, "lux": 0.12, "anime": 0.4, "chatgpt": 0.18}


def restyle(free: Image.Image, control: Control, style: str, ramp: list[Color]) -> Image.Image:
    """Lay the photo over the style's free picture; strength brings out the photo's structure."""
    size = free.size
    strength = min(1.0, max(0.0, control.strength))
    source = Image.fromarray(control.edges if control.photo is None else control.photo)
    fitted = ImageOps.fit(source, size, Image.Resampling.BILINEAR)
    unit = min(size)
    smooth = fitted.filter(ImageFilter.BoxBlur(unit * (0.003 + 0.03 * (1 - strength))))
    base = _posterise(smooth, style, ramp)
    base = Image.blend(free, base, 0.25 + 0.75 * strength)
    if strength == 0:
        return base
    edges = ImageOps.fit(Image.fromarray(control.edges).convert("L"), size, Image.Resampling.BOX)
    thick = edges.filter(ImageFilter.MaxFilter(3)) if style in ("anime", "chatgpt") else edges
    mask = thick.filter(ImageFilter.BoxBlur(0.6)).point(
        lambda value: min(255, value * 1.6) * strength
    )
    return Image.composite(Image.new("RGB", size, ramp[_INK[style]]), base, mask)


def _posterise(photo: Image.Image, style: str, ramp: list[Color]) -> Image.Image:
    grey = ImageOps.autocontrast(photo.convert("L"), cutoff=1)
    bands = _BANDS[style]
    level = np.round(np.arange(256) / 255 * (bands - 1)) / (bands - 1)
    # Soften the steps: mostly the level of the band, a little of the true one.
    level = 0.85 * level + 0.15 * np.arange(256) / 255
    stops = np.linspace(0, 1, len(ramp))
    tables = [np.interp(level, stops, [color[i] for color in ramp]) for i in range(3)]
    colored = Image.merge("RGB", [grey.point([round(v) for v in table]) for table in tables])
    return Image.blend(colored, photo, _TINT[style])
