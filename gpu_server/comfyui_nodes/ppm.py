"""Binary PPM files: the bytes of an image without any encoding."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def ppm_header(width: int, height: int) -> bytes:
    """Return the header of a binary PPM (P6) with 8 bits per channel; the pixels follow it."""
    return b"P6\n%d %d\n255\n" % (width, height)


def write_ppm(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write `pixels` (height x width x 3, RGB, uint8) so that readers see a whole file or none."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels must be height x width x 3 of uint8, not {pixels.shape} of {pixels.dtype}"
        )
    height, width, _ = pixels.shape
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(ppm_header(width, height))
            file.write(np.ascontiguousarray(pixels).data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
