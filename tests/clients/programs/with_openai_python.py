# mypy: ignore-errors
"""OpenAI's Python client, which finds address and key in OPENAI_BASE_URL and OPENAI_API_KEY."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

import openai
from report import encoded, step

client = openai.OpenAI()
photo = Path(os.environ["PHOTO"])


def pictures(answer):
    return [item.b64_json for item in answer.data]


@step
def draws_as_dall_e_3():
    answer = client.images.generate(
        model="dall-e-3", prompt="a red fox", size="1024x1024", quality="hd", style="vivid"
    )
    return [{"b64_json": item.b64_json, "url": item.url} for item in answer.data]


@step
def draws_as_gpt_image_1():
    return pictures(
        client.images.generate(
            model="gpt-image-1",
            prompt="a red fox",
            size="1024x1536",
            quality="high",
            moderation="low",
            output_format="webp",
            output_compression=80,
        )
    )


@step
def draws_without_a_model():
    return pictures(client.images.generate(prompt="a red fox", size="512x512"))


@step
def draws_a_style():
    return pictures(client.images.generate(model="easel:anime", prompt="a red fox", size="512x512"))


@step
def draws_six():
    return pictures(client.images.generate(prompt="a lake", n=6, size="256x256"))


@step
async def draws_sixteen_at_once():
    async with openai.AsyncOpenAI(max_retries=0) as parallel:
        answers = await asyncio.gather(
            *(
                parallel.images.generate(
                    prompt=f"a lake, number {number}", size="256x256", user="walker"
                )
                for number in range(16)
            )
        )
    return [picture for answer in answers for picture in pictures(answer)]


@step
def draws_for_a_named_person():
    return pictures(
        client.images.generate(
            prompt="a lake", size="256x256", user="old-name", safety_identifier="person-7"
        )
    )


@step
def fetches_a_url_without_a_key():
    answer = client.images.generate(prompt="a lake", size="256x256", response_format="url")
    assert answer.data[0].b64_json is None
    return encoded(urlopen(answer.data[0].url).read())


@step
def answers_only_b64_json():
    answer = client.images.generate(prompt="a lake", size="256x256", response_format="b64_json")
    assert answer.data[0].url is None
    return pictures(answer)


@step
def edits_an_open_file():
    with photo.open("rb") as file:
        return pictures(client.images.edit(model="gpt-image-1", image=file, prompt="at night"))


@step
def edits_with_the_model_that_drew():
    return pictures(client.images.edit(model="easel", image=photo, prompt="at night"))


@step
def edits_a_list_of_one():
    named = ("photo.png", photo.read_bytes(), "image/png")
    return pictures(client.images.edit(image=[named], prompt="at night", input_fidelity="high"))


@step
def streams_partial_pictures():
    events = client.images.generate(
        prompt="a mountain", size="512x512", stream=True, partial_images=2
    )
    return [{"type": event.type, "b64_json": event.b64_json} for event in events]


@step
def streams_an_edit():
    events = client.images.edit(
        image=photo, prompt="at night", stream=True, partial_images=2, size="512x512"
    )
    return [{"type": event.type, "b64_json": event.b64_json} for event in events]


@step
def chats():
    answer = client.chat.completions.create(
        model="easel", messages=[{"role": "user", "content": "Draw a red fox"}]
    )
    return answer.choices[0].message.content


@step
def chats_in_a_stream():
    chunks = client.chat.completions.create(
        model="gpt-image-1",
        messages=[
            {"role": "system", "content": "You draw."},
            {"role": "user", "content": "a red fox"},
        ],
        stream=True,
    )
    return [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]


@step
def chats_with_a_photo():
    url = f"data:image/png;base64,{encoded(photo)}"
    parts = [{"type": "text", "text": "at night"}, {"type": "image_url", "image_url": {"url": url}}]
    answer = client.chat.completions.create(
        model="easel", messages=[{"role": "user", "content": parts}]
    )
    return answer.choices[0].message.content


@step
def lists_models():
    return [model.id for model in client.models.list()]


@step
def is_told_that_the_key_is_wrong():
    openai.OpenAI(api_key="not-the-key").images.generate(prompt="a lake")


@step
def is_told_the_models():
    client.images.generate(model="stable-diffusion-9", prompt="a lake")


@step
def is_told_how_many():
    client.images.generate(prompt="a lake", n=11)


@step
def is_told_the_sizes():
    client.images.generate(prompt="a lake", size="9x9")


@step
def is_told_that_the_prompt_is_refused():
    client.images.generate(prompt="a nude photo of my neighbour")


@step
def draws_after_others_were_refused():
    for _ in range(8):
        with suppress(openai.BadRequestError):
            client.images.generate(prompt="a nude photo of my neighbour")
    return pictures(client.images.generate(prompt="a lake", size="256x256"))


@step
def is_told_to_use_images_instead_of_responses():
    client.responses.create(model="gpt-5", input="Draw a red fox")


@step
def is_told_to_use_edits_instead_of_variations():
    client.post("/images/variations", body={}, cast_to=object)


@step
def is_told_that_the_base_url_ends_in_v1():
    openai.OpenAI(base_url=os.environ["EASEL_URL"]).images.generate(prompt="a lake")
