"""Photos to send, and the pictures that come back."""

import base64
import io

from PIL import Image

KEY = "a-key-for-the-tests-of-openai"


def picture(data: str | None) -> Image.Image:
    assert data
    return Image.open(io.BytesIO(base64.b64decode(data)))


def photo(width: int = 320, height: int = 240) -> bytes:
    image = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    image.paste((200, 40, 40), (90, 60, 220, 180))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def large_photo() -> bytes:
    """Return a photo of more bytes than JSON may have besides its photos."""
    buffer = io.BytesIO()
    Image.effect_noise((1400, 1000), 80).save(buffer, "PNG")
    assert buffer.tell() > 1_000_000
    return buffer.getvalue()


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
