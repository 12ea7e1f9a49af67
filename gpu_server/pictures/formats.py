"""The image formats that both services read and write, and their media types."""

from typing import Annotated, Literal

from pydantic import BeforeValidator

ImageFormat = Annotated[
    Literal["png", "jpeg", "webp"],
    BeforeValidator(lambda name: "jpeg" if name == "jpg" else name),
]
"""A format by its name; `jpg` is read as `jpeg`."""
MEDIA_TYPES: dict[str, ImageFormat] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/webp": "webp",
}


def media_type(image_format: ImageFormat) -> str:
    return f"image/{image_format}"
