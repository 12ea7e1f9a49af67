"""What a picture of the sketch engine costs: milliseconds of CPU at 1024 px, by style.

Drawn from words alone, and from a photo's edges as for restyle, the edges included.
"""

import statistics
import sys
import time

import numpy as np

from bench.photos import SIDE, photo_like
from bench.report import Figures, finish, machine, parser, percentile
from gpu_server.sketch.draw import STYLES, Brief, Control, Drawing
from gpu_server.sketch.jobs import pictures

WORDS = "a lighthouse on a rocky coast at sunset, gulls over the sea"
EDGE_THRESHOLDS = (0.4, 0.8)
PICTURES = 10


def cpu_ms(style: str, photo: pictures.Picture | None) -> dict[str, float]:
    taken = []
    for seed in range(PICTURES + 1):
        began = time.process_time()
        control = None
        if photo is not None:
            edges = pictures.edges(photo, *EDGE_THRESHOLDS)
            control = Control(edges.pixels, photo.pixels, 0.7)
        Drawing(Brief(style, WORDS, seed, SIDE, SIDE, control))
        taken.append((time.process_time() - began) * 1000)
    counted = taken[1:]  # the first one loads the letters
    return {"p50_ms": statistics.median(counted), "p95_ms": percentile(counted, 95)}


def measure() -> Figures:
    described = machine()
    photo = pictures.Picture(np.asarray(photo_like()))
    drawn = {
        "free": {style: cpu_ms(style, None) for style in STYLES},
        "restyle": {style: cpu_ms(style, photo) for style in STYLES},
    }
    return {"machine": described, "drawn": drawn}


def main() -> int:
    options = parser("sketch", __doc__).parse_args()
    return finish("sketch", measure(), options.output)


if __name__ == "__main__":
    sys.exit(main())
