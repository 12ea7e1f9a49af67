# mypy: ignore-errors
"""LangChain's wrapper for DALL-E, which finds address and key in the environment."""

import os
from urllib.request import urlopen

os.environ["OPENAI_API_BASE"] = os.environ["OPENAI_BASE_URL"]

from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper
from report import encoded, step


@step
def draws_as_its_default():
    urls = DallEAPIWrapper().run("a red fox").splitlines()
    return [encoded(urlopen(url).read()) for url in urls]


@step
def draws_six():
    urls = DallEAPIWrapper(model="easel", n=6, size="256x256").run("a lake").splitlines()
    return [encoded(urlopen(url).read()) for url in urls]


@step
def is_told_the_models():
    DallEAPIWrapper(model="stable-diffusion-9").run("a lake")
