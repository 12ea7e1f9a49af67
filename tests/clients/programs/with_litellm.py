# mypy: ignore-errors
"""LiteLLM's functions, which find address and key in OPENAI_BASE_URL and OPENAI_API_KEY."""

import asyncio
import os
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it asks the internet for prices

import litellm
from report import step

litellm.suppress_debug_info = True
photo = Path(os.environ["PHOTO"])


def pictures(answer):
    return [item.b64_json for item in answer.data]


@step
def draws_as_dall_e_3():
    answer = litellm.image_generation(
        model="openai/dall-e-3", prompt="a red fox", size="1024x1024", user="person-7"
    )
    return pictures(answer)


@step
def draws_as_gpt_image_1():
    return pictures(litellm.image_generation(model="openai/gpt-image-1", prompt="a red fox"))


@step
def draws_six():
    return pictures(
        litellm.image_generation(model="openai/easel", prompt="a lake", n=6, size="256x256")
    )


@step
async def draws_sixteen_at_once():
    answers = await asyncio.gather(
        *(
            litellm.aimage_generation(model="openai/easel", prompt="a lake", size="256x256")
            for _ in range(16)
        )
    )
    return [picture for answer in answers for picture in pictures(answer)]


@step
def edits():
    with photo.open("rb") as file:
        return pictures(litellm.image_edit(image=file, model="openai/easel", prompt="at night"))


@step
def chats():
    answer = litellm.completion(
        model="openai/easel", messages=[{"role": "user", "content": "Draw a red fox"}]
    )
    return answer.choices[0].message.content


@step
def is_told_the_models():
    litellm.image_generation(model="openai/stable-diffusion-9", prompt="a lake")


@step
def is_told_that_the_key_is_wrong():
    litellm.image_generation(model="openai/easel", prompt="a lake", api_key="not-the-key")
