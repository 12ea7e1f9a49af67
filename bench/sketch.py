"""Measure the CPU milliseconds of a 1024 px image of the sketch engine, by style.

Drawn from a prompt alone, and restyled from a photo, which includes finding its edges.
"""

import statistics
import sys
import time

import numpy as np

from bench.harness.photos import SIDE, photo_like
from bench.report import Figures, finish, machine, parser, percentile
from gpu_server.sketch.draw import STYLES, Brief, Control, Drawing
from gpu_server.sketch.jobs import pictures

_PROMPT = "a lighthouse on a rocky coast at sunset, gulls over the sea"
_EDGE_THRESHOLDS = (0.4, 0.8)
_IMAGES = 10


def cpu_ms(style: str, photo: pictures.Picture | None) -> dict[str, float]:
    times = []
    for seed in range(_IMAGES + 1):
        began = time.process_time()
        control = None
        if photo is not None:
            edges = pictures.edges(photo, *_EDGE_THRESHOLDS)
            control = Control(edges.pixels, photo.pixels, 0.7)
        Drawing(Brief(style, _PROMPT, seed, SIDE, SIDE, control))
        times.append((time.process_time() - began) * 1000)
    counted = times[1:]  # the first one also loads the font
    return {"p50_ms": statistics.median(counted), "p95_ms": percentile(counted, 95)}


def measure() -> Figures:
    figures: Figures = {"machine": machine()}
    photo = pictures.Picture(np.asarray(photo_like()))
    figures["drawn"] = {
        "free": {style: cpu_ms(style, None) for style in STYLES},
        "restyle": {style: cpu_ms(style, photo) for style in STYLES},
    }
    return figures


def main() -> int:
    options = parser("sketch", __doc__).parse_args()
    return finish("sketch", measure(), options.output)


if __name__ == "__main__":
    sys.exit(main())
