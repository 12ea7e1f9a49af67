"""Binary PPM files: the bytes of an image without any encoding."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def ppm_header(width: int, height: int, channels: int = 3) -> bytes:
    """Return the header of a binary PPM with 8 bits per channel; the pixels follow it.

    With four channels it is the variant that Pillow reads as RGBA.
    """
    return (b"PyRGBA" if channels == 4 else b"P6") + b"\n%d %d\n255\n" % (width, height)


def write_ppm(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write `pixels` (height x width x 3 or 4, uint8) so that readers see a whole file or none."""
    if pixels.ndim != 3 or pixels.shape[2] not in (3, 4) or pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels must be height x width x 3 or 4 of uint8, not {pixels.shape} of {pixels.dtype}"
        )
    height, width, channels = pixels.shape
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(ppm_header(width, height, channels))
            file.write(np.ascontiguousarray(pixels).data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
