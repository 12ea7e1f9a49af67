"""Chat completions: the last message is drawn, and its picture edited."""

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from PIL import Image

from backend.main import create_app
from backend.settings import Settings
from tests import services
from tests.backend.openai.pictures import KEY, data_url, large_photo

PICTURE = re.compile(r"!\[([^\]]*)\]\((http[^)]+)\)")


def said(text: str) -> list[Any]:
    return [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": "a house"},
        {"role": "assistant", "content": "![a house](http://127.0.0.1/x)"},
        {"role": "user", "content": text},
    ]


def shown(content: str | None) -> tuple[str, Image.Image]:
    """Return the words and the picture of a Markdown image, which needs no key."""
    found = PICTURE.fullmatch(content or "")
    assert found, content
    return found[1], Image.open(io.BytesIO(httpx.get(found[2]).content))


def test_the_last_message_is_drawn(client: openai.OpenAI, http: httpx.Client) -> None:
    answer = client.chat.completions.create(
        model="easel:anime",
        messages=said("a red [fox]\nin snow"),
        safety_identifier="chatter",
        temperature=0.7,
        max_tokens=100,
        extra_body={"size": "512x256", "seed": 7},
    )
    [choice] = answer.choices
    assert choice.finish_reason == "stop"
    words, image = shown(choice.message.content)
    assert words == "a red fox in snow"
    assert image.size == (512, 256)
    drawn = http.get("/generations", params={"user": "chatter"}).json()["generations"]
    assert [(one["prompt"], one["style"], one["seed"]) for one in drawn] == [
        ("a red [fox]\nin snow", "anime", 7)
    ]


def test_a_photo_in_the_message_is_edited(client: openai.OpenAI, http: httpx.Client) -> None:
    content = [
        {"type": "text", "text": "at night"},
        {"type": "image_url", "image_url": {"url": data_url(large_photo())}},
    ]
    messages: Any = [{"role": "user", "content": content}]
    answer = client.chat.completions.create(model="gpt-image-1", messages=messages, user="editor")
    _, image = shown(answer.choices[0].message.content)
    assert image.width / image.height == pytest.approx(1.4, abs=0.05)
    [drawn] = http.get("/generations", params={"user": "editor"}).json()["generations"]
    assert (drawn["mode"], drawn["prompt"]) == ("restyle", "at night")


def test_each_of_several_choices_has_a_picture_of_its_own(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="easel", messages=said("a lake"), n=2, extra_body={"size": "256x256"}
    )
    pictures = [shown(choice.message.content)[1].tobytes() for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert pictures[0] != pictures[1]


def test_a_stream_tells_progress_apart_from_the_picture(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="easel",
            messages=said("a lake"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    shown("".join(delta.content or "" for delta in deltas))
    progress = [getattr(delta, "reasoning_content", None) for delta in deltas]
    assert any(text and text.startswith(("Drawing, ", "In line, ")) for text in progress)
    ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert ends == [None] * (len(ends) - 1) + ["stop"]
    assert chunks[-1].usage is not None
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_as_openai_streams_do(http: httpx.Client) -> None:
    body = {"model": "easel", "messages": said("a lake"), "stream": True}
    text = http.post("/v1/chat/completions", json=body).text
    assert text.endswith("data: [DONE]\n\n")
    assert "event:" not in text


async def test_the_asynchronous_client_streams_too(url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="easel", messages=said("a lake"), stream=True
        )
        content = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    shown(content)


WRONG: list[tuple[list[Any], str]] = [
    ([], "messages: has no message whose role is user"),
    ([{"role": "user", "content": " "}], "messages[0].content: is empty"),
    ([{"role": "user"}], "messages[0].content: holds something else (allowed: text, image_url)"),
    ([{"role": "user", "content": [{"type": "input_audio"}]}], "allowed: text, image_url"),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y"}}]}],
        "image_url: addresses are not fetched",
    ),
    (
        [{"role": "user", "content": "### Task:\nGenerate a concise title"}],
        "is a task for a language model",
    ),
]


@pytest.mark.parametrize(("messages", "sentence"), WRONG, ids=range(len(WRONG)))
def test_a_chat_with_nothing_to_draw_is_told_why(
    client: openai.OpenAI, messages: list[Any], sentence: str
) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model="easel", messages=messages)
    assert sentence in raised.value.message


def test_a_refused_prompt_has_openai_code_with_and_without_stream(client: openai.OpenAI) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as raised:
            client.chat.completions.create(
                model="easel", messages=said("a nude photo"), stream=stream, user="refused-chat"
            )
        assert raised.value.code == "content_policy_violation"


def test_the_same_key_gives_the_same_picture(http: httpx.Client) -> None:
    body = {"model": "easel", "messages": said("a lake"), "user": "twice"}
    headers = {"Idempotency-Key": "one-chat"}
    for _ in range(2):
        answer = http.post("/v1/chat/completions", json=body, headers=headers)
        shown(answer.json()["choices"][0]["message"]["content"])
    assert len(http.get("/generations", params={"user": "twice"}).json()["generations"]) == 1


@pytest.fixture
def slow(engine: str) -> Iterator[None]:
    fault = {"fault": "slow", "seconds": 1}
    httpx.post(f"{engine}/sketch/faults", json=fault).raise_for_status()
    yield
    httpx.delete(f"{engine}/sketch/faults").raise_for_status()


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("path", ["chat/completions", "images/generations"])
def test_hanging_up_cancels_what_is_drawn(http: httpx.Client, path: str) -> None:
    user = f"gone-{path}"
    what: dict[str, Any] = {"messages": said("x"), "prompt": "a lake", "partial_images": 3}
    del what["messages" if "images" in path else "prompt"]
    body = {**what, "user": user, "stream": True}
    with http.stream("POST", f"/v1/{path}", json=body) as answer:
        next(answer.iter_lines())

    def is_cancelled() -> bool:
        [one] = http.get("/generations", params={"user": user}).json()["generations"]
        return bool(one["status"] == "cancelled")

    services.until(is_cancelled, "the generation is cancelled")


def test_a_backend_can_have_no_chats(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {"easel_data_dir": tmp_path, "backend_chat_completions": "false"}
    )
    with (
        services.served(create_app(settings)) as base,
        openai.OpenAI(base_url=f"{base}/v1", api_key="any", max_retries=0) as client,
        pytest.raises(openai.NotFoundError, match="use POST /v1/images/generations"),
    ):
        client.chat.completions.create(model="easel", messages=said("a lake"))
