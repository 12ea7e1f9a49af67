# mypy: ignore-errors
"""LlamaIndex's image tool, which finds the address as OpenAI's client does."""

import os
from urllib.request import urlopen

from llama_index.tools.openai import OpenAIImageGenerationToolSpec
from report import encoded, step

tool = OpenAIImageGenerationToolSpec(api_key=os.environ["OPENAI_API_KEY"], cache_dir="pictures")


@step
def draws_as_its_default():
    return encoded(urlopen(tool.image_generation("a red fox")).read())


@step
def draws_into_a_file():
    return encoded(tool.image_generation("a red fox", download=True)[0])
