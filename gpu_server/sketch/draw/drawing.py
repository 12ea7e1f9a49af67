"""One picture: painted, lettered, marked, and previewed half-finished."""

from dataclasses import replace

import numpy as np
from PIL import Image

from gpu_server.sketch.draw import anime, chatgpt, lettering, lux, photo, realism
from gpu_server.sketch.draw.brief import RAMPS, Brief, Pixels, Size

_LONGEST = 1536  # pixels; larger pictures are drawn at this size and enlarged

_STYLES = {"realism": realism, "lux": lux, "anime": anime, "chatgpt": chatgpt}


class Drawing:
    """A finished picture that can also show earlier states of itself."""

    def __init__(self, brief: Brief) -> None:
        image = _draw(brief)
        self.pixels: Pixels = np.asarray(image)
        self._image = image
        self._noise: Image.Image | None = None
        self._small: Image.Image | None = None

    def preview(self, done: float, longest: int) -> Image.Image:
        """Show the picture at `done`, from 0 (coarse and noisy) to 1 (finished)."""
        if self._small is None or self._noise is None:
            factor = longest / max(self._image.size)
            size = [max(1, round(side * factor)) for side in self._image.size]
            self._small = self._image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
            self._noise = _noise(self._small.size)
        small = self._small
        if done >= 1:
            return small
        share = 0.02 + 0.5 * done * done
        coarse = small.resize(
            (max(2, round(small.width * share)), max(2, round(small.height * share))),
            Image.Resampling.BOX,
        ).resize(small.size, Image.Resampling.BICUBIC)
        return Image.blend(coarse, self._noise, 0.6 * (1 - done))


def _draw(brief: Brief) -> Image.Image:
    style = brief.style if brief.style in _STYLES else "realism"
    module = _STYLES[style]
    random = brief.random()
    ramp = RAMPS[style][int(random.integers(len(RAMPS[style])))]
    factor = min(1.0, _LONGEST / max(brief.width, brief.height))
    size = max(1, round(brief.width * factor)), max(1, round(brief.height * factor))
    image: Image.Image = module.paint(size, random, ramp)
    letters: lettering.Lettering = module.LETTERING
    if brief.control is not None:
        image = photo.restyle(image, brief.control, style, ramp)
        letters = replace(letters, color=ramp[-1], outline=0.08, outline_color=ramp[0])
        letters = replace(letters, weight="SemiBold", centred=False)
    width, height = size
    box = (width * 0.06, height * 0.77, width * 0.94, height * 0.925)
    if letters.centred:
        box = (width * 0.11, height * 0.685, width * 0.89, height * 0.885)
    lettering.write(image, brief.prompt, box, letters)
    lettering.mark(image)
    if factor < 1:
        image = image.resize((brief.width, brief.height), Image.Resampling.LANCZOS)
    return image


def _noise(size: Size) -> Image.Image:
    random = np.random.default_rng(0)
    grid = random.integers(0, 256, (size[1] // 3 + 1, size[0] // 3 + 1, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.NEAREST)
