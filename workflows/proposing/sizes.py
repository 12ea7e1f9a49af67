"""The shapes of picture that a model draws well: those with as many pixels as its own size."""

import math

_RATIOS = {
    "1:1": (1, 1), "2:3": (2, 3), "3:2": (3, 2), "3:4": (3, 4), "4:3": (4, 3),
    "16:9": (16, 9), "9:16": (9, 16), "21:9": (21, 9),
}  # fmt: skip
_GRAIN, _FINE = 32, 512
"""Large sides are multiples of this: models see nothing finer in a latent's blocks."""
_OFFERED = ("1:1", "2:3", "3:2", "16:9", "9:16")


def shapes(own: tuple[int, int], step: int) -> dict[str, tuple[int, int]]:
    """Return the workflow's own size first, and beside it the usual shapes at as many pixels."""
    ratio = own[0] / own[1]
    nearest = min(_RATIOS, key=lambda name: abs(_RATIOS[name][0] / _RATIOS[name][1] - ratio))
    found = {nearest: own}
    step = math.lcm(step, _GRAIN) if min(own) >= _FINE else step
    for name in _OFFERED:
        width, height = _RATIOS[name]
        side = (own[0] * own[1] / (width * height)) ** 0.5
        size = round(side * width / step) * step, round(side * height / step) * step
        if name not in found and all(16 <= pixels <= 8192 for pixels in size):
            found[name] = size
    return found
