"""What to draw, and the palettes of the styles."""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import ImageDraw

Draw = ImageDraw.ImageDraw
Random = np.random.Generator
Pixels = npt.NDArray[np.uint8]
Color = tuple[int, int, int]
Size = tuple[int, int]  # width and height
Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom

STYLES = ("realism", "lux", "anime", "chatgpt")


@dataclass(frozen=True)
class Control:
    """The picture whose structure to keep: `strength` 0 loosely, 1 and over closely."""

    edges: Pixels
    photo: Pixels | None
    strength: float


@dataclass(frozen=True)
class Brief:
    """One picture to draw; sizes in pixels. An unknown style is drawn as realism."""

    style: str
    prompt: str
    seed: int
    width: int
    height: int
    control: Control | None = None

    def random(self) -> Random:
        """Create a random generator that depends on seed, prompt and style alone."""
        return np.random.default_rng([self.seed, _digest(self.prompt), _digest(self.style)])


def style_of_model(name: str) -> str:
    """Choose the style for a model file when no style is named."""
    return STYLES[_digest(name) % len(STYLES)]


def _digest(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))


def ramp(codes: str) -> list[Color]:
    """Parse colours from hexadecimal codes separated by blanks."""
    return [(int(code[:2], 16), int(code[2:4], 16), int(code[4:], 16)) for code in codes.split()]


# Ramps from dark to light for each style; the seed chooses one.
RAMPS: dict[str, list[list[Color]]] = {
    "realism": [
        ramp("1c2b33 34505a 5f8087 9fb3ab e3c9a4 f7e3c4"),  # misty morning
        ramp("231b2e 4a3450 8a4f5d cf7f5a f2b56b fce6b8"),  # sunset
        ramp("12202b 22405a 3f6f8e 7fa9bb c3d6d6 f1f0e4"),  # alpine day
        ramp("1d2a1f 38513a 667f55 a4ad7c dccf9f f6ecd0"),  # late summer
    ],
    "lux": [
        ramp("07080d 10121c 1b1e2e 6e5423 c9a24c fbeab5"),  # onyx
        ramp("04120e 08241b 0e3a2c 6b5a26 cfae55 fdf0bf"),  # emerald
        ramp("12050a 260a15 3f1122 7a4a2c d9a95c ffe9c0"),  # burgundy
        ramp("050a1a 0a1533 132455 5d5a4a cbb06a fff1c9"),  # midnight
    ],
    "anime": [
        ramp("2b2f77 3f6fd8 54b8f5 ff8fb8 ffd3e0 ffffff"),  # spring
        ramp("3a1c71 a1307f f0567a ff9a5a ffd86b fff7dc"),  # evening
        ramp("141a4f 2c3fa0 5a5be0 b06cf0 ff9ee6 fff0ff"),  # night
        ramp("0f4c5c 1fa2a6 5fd6c4 b5f0c9 fff2a8 ffffff"),  # summer
    ],
    "chatgpt": [
        ramp("22313f 2a6f6b e4572e f3a712 a8c686 f6efe2"),
        ramp("2d2a4a 5b5f97 ff6b6c ffc145 b8b8d1 fffffb"),
        ramp("1f3b4d 3d7ea6 f08a5d f9d56e 9ad1be f7f3e9"),
        ramp("3b2c35 7d5a8c e07a5f f2cc8f 81b29a f4f1de"),
    ],
}
