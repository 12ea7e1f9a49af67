"""The image formats that both services read and write, and their media types."""

from typing import Literal

ImageFormat = Literal["png", "jpeg", "webp"]
MEDIA_TYPES: dict[str, ImageFormat] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/webp": "webp",
}


def media_type(image_format: ImageFormat) -> str:
    return f"image/{image_format}"
