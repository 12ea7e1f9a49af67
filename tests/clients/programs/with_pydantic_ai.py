# mypy: ignore-errors
"""PydanticAI's image generator, which finds address and key as OpenAI's client does."""

import asyncio
import os
from pathlib import Path

from pydantic_ai import BinaryImage, ImageGenerator
from report import encoded, step

photo = Path(os.environ["PHOTO"]).read_bytes()


@step
async def draws_as_gpt_image_1():
    result = await ImageGenerator("openai:gpt-image-1").generate("a red fox")
    return encoded(result.image.data)


@step
async def draws_as_its_default():
    generator = ImageGenerator("openai:gpt-image-2")
    result = await generator.generate("a red fox", settings={"dimensions": (1024, 1536)})
    return encoded(result.image.data)


@step
async def draws_sixteen_at_once():
    generator = ImageGenerator("openai:easel", settings={"dimensions": (256, 256)})
    results = await asyncio.gather(*(generator.generate("a lake") for _ in range(16)))
    return [encoded(result.image.data) for result in results]


@step
async def draws_six():
    settings = {"dimensions": (256, 256), "openai_n": 6, "openai_user": "person-7"}
    result = await ImageGenerator("openai:easel").generate("a lake", settings=settings)
    return [encoded(image.content.data) for image in result.images]


@step
async def edits():
    image = BinaryImage(photo, media_type="image/png")
    result = await ImageGenerator("openai:gpt-image-2").generate("at night", images=[image])
    return encoded(result.image.data)


@step
async def is_told_the_models():
    await ImageGenerator("openai:stable-diffusion-9").generate("a lake")
