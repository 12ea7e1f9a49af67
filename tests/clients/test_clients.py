"""Clients that people have already work with nothing but a base URL and a key.

All in one file, so that one worker runs it with one Easel.
"""

import base64
import io
import re

import httpx
import pytest
from PIL import Image

from tests.clients.conftest import Reported
from tests.clients.seen import error, pictures, sizes

pytestmark = pytest.mark.timeout(320)  # the first run installs
PORTRAIT, SQUARE, SMALL = (1024, 1536), (1024, 1024), (256, 256)
LINK = re.compile(r"!\[[^\]]*\]\((\S+)\)")
NAMES_OF_OTHERS = [
    ("openai-python", "draws_as_gpt_image_1", PORTRAIT),
    ("openai-python", "draws_without_a_model", (512, 512)),
    ("openai-python", "draws_a_style", (512, 512)),
    ("openai-node", "draws_as_gpt_image_1", PORTRAIT),
    ("litellm", "draws_as_dall_e_3", SQUARE),
    ("litellm", "draws_as_gpt_image_1", SQUARE),
    ("ai-sdk", "draws_as_dall_e_3", SQUARE),
    ("ai-sdk", "draws_as_gpt_image_1", PORTRAIT),
    ("langchain-python", "draws_as_its_default", SQUARE),
    ("langchain-js", "draws_as_its_default", SQUARE),
    ("pydantic-ai", "draws_as_gpt_image_1", SQUARE),
    ("pydantic-ai", "draws_as_its_default", PORTRAIT),
    ("llama-index", "draws_as_its_default", SQUARE),
    ("llama-index", "draws_into_a_file", SQUARE),
]
MANY = [
    ("openai-python", "draws_six", 6),
    ("openai-python", "draws_sixteen_at_once", 16),
    ("openai-node", "draws_six", 6),
    ("openai-node", "draws_sixteen_at_once", 16),
    ("litellm", "draws_six", 6),
    ("litellm", "draws_sixteen_at_once", 16),
    ("ai-sdk", "openai_draws_six", 6),
    ("ai-sdk", "draws_sixteen_at_once", 16),
    ("ai-sdk", "compatible_draws_six", 6),
    ("langchain-python", "draws_six", 6),
    ("langchain-js", "draws_six", 6),
    ("pydantic-ai", "draws_six", 6),
    ("pydantic-ai", "draws_sixteen_at_once", 16),
]
EDITS = [
    ("openai-python", "edits_an_open_file"),
    ("openai-python", "edits_with_the_model_that_drew"),
    ("openai-python", "edits_a_list_of_one"),
    ("openai-node", "edits_a_stream"),
    ("openai-node", "edits_a_list_of_one"),
    ("litellm", "edits"),
    ("ai-sdk", "openai_edits"),
    ("ai-sdk", "compatible_edits"),
    ("pydantic-ai", "edits"),
]
STREAMS = [
    (client, step, kind)
    for client in ("openai-python", "openai-node")
    for step, kind in (
        ("streams_partial_pictures", "image_generation"),
        ("streams_an_edit", "image_edit"),
    )
]
CHATS = [
    ("openai-python", "chats"),
    ("openai-python", "chats_in_a_stream"),
    ("openai-python", "chats_with_a_photo"),
    ("openai-node", "chats_in_a_stream"),
    ("litellm", "chats"),
    ("ai-sdk", "chats"),
]
ERRORS = [
    (
        "openai-python",
        "is_told_that_the_key_is_wrong",
        "AuthenticationError",
        "valid key is needed",
    ),
    ("openai-python", "is_told_the_models", "NotFoundError", "easel-free:anime"),
    ("openai-python", "is_told_how_many", "BadRequestError", r"n: .*1 to 10"),
    ("openai-python", "is_told_the_sizes", "BadRequestError", r"size: .*1024x1024"),
    ("openai-python", "is_told_that_the_prompt_is_refused", "BadRequestError", "not draw this"),
    (
        "openai-python",
        "is_told_to_use_images_instead_of_responses",
        "NotFoundError",
        "/v1/images/generations",
    ),
    (
        "openai-python",
        "is_told_to_use_edits_instead_of_variations",
        "NotFoundError",
        "/v1/images/edits",
    ),
    ("openai-python", "is_told_that_the_base_url_ends_in_v1", "NotFoundError", "/v1"),
    (
        "openai-node",
        "is_told_that_the_key_is_wrong",
        "AuthenticationError",
        "valid key is needed",
    ),
    ("openai-node", "is_told_the_models", "NotFoundError", "easel-free:anime"),
    ("openai-node", "is_told_how_many", "BadRequestError", r"n: .*1 to 10"),
    ("openai-node", "is_told_that_the_base_url_ends_in_v1", "NotFoundError", "/v1"),
    ("litellm", "is_told_that_the_key_is_wrong", "AuthenticationError", "valid key is needed"),
    ("litellm", "is_told_the_models", "NotFoundError", "easel-free:anime"),
    ("ai-sdk", "openai_is_told_the_models", "APICallError", "easel-free:anime"),
    ("ai-sdk", "compatible_is_told_the_models", "APICallError", "easel-free:anime"),
    ("langchain-python", "is_told_the_models", "NotFoundError", "easel-free:anime"),
    ("langchain-js", "is_told_the_models", "NotFoundError", "easel-free:anime"),
    ("pydantic-ai", "is_told_the_models", "ModelHTTPError", "easel-free:anime"),
]


@pytest.mark.parametrize(("client", "step", "size"), NAMES_OF_OTHERS)
def test_a_picture_comes_in_the_size_wanted_under_the_name_the_client_knows(
    reported: Reported, client: str, step: str, size: tuple[int, int]
) -> None:
    assert sizes(reported(client, step)) == [size]


@pytest.mark.parametrize(("client", "step", "number"), MANY)
def test_as_many_pictures_come_as_were_wanted_each_another(
    reported: Reported, client: str, step: str, number: int
) -> None:
    found = pictures(reported(client, step))
    assert len({picture.tobytes() for picture in found}) == number
    assert len(found) == number


@pytest.mark.parametrize(("client", "step"), EDITS)
def test_a_photo_is_redrawn_in_its_proportions(reported: Reported, client: str, step: str) -> None:
    [(width, height)] = sizes(reported(client, step))
    assert width / height == pytest.approx(320 / 240, abs=0.05)


@pytest.mark.parametrize("client", ["openai-python", "openai-node"])
def test_without_a_wish_the_picture_comes_both_ways(reported: Reported, client: str) -> None:
    [drawn] = reported(client, "draws_as_dall_e_3")
    assert sizes(drawn["b64_json"]) == [SQUARE]
    fetched = httpx.get(drawn["url"])
    assert Image.open(io.BytesIO(fetched.content)).size == SQUARE


@pytest.mark.parametrize(
    "step",
    [
        "fetches_a_url_without_a_key",
        "answers_only_b64_json",
        "draws_for_a_named_person",
        "draws_after_others_were_refused",
    ],
)
def test_a_picture_comes_as_it_was_wished(reported: Reported, step: str) -> None:
    assert sizes(reported("openai-python", step)) == [SMALL]


@pytest.mark.parametrize(("client", "step", "kind"), STREAMS)
def test_partial_pictures_are_streamed_before_the_whole_one(
    reported: Reported, client: str, step: str, kind: str
) -> None:
    events = reported(client, step)
    *partial, last = [event["type"] for event in events]
    assert last == f"{kind}.completed"
    assert set(partial) == {f"{kind}.partial_image"}
    assert len(partial) <= 2
    assert len(pictures([event["b64_json"] for event in events])) == len(events)


@pytest.mark.parametrize(("client", "step"), CHATS)
def test_a_chat_is_answered_with_a_picture(reported: Reported, client: str, step: str) -> None:
    said = reported(client, step)
    [link] = LINK.findall("".join(part or "" for part in said))
    fetched = base64.b64decode(link.partition(",")[2]) if "," in link else httpx.get(link).content
    Image.open(io.BytesIO(fetched)).load()


@pytest.mark.parametrize(("client", "step", "name", "sentence"), ERRORS)
def test_an_error_has_the_clients_class_and_says_what_to_do(
    reported: Reported, client: str, step: str, name: str, sentence: str
) -> None:
    found = error(reported(client, step))
    assert found["class"] == name
    assert re.search(sentence, found["message"]), found["message"]


def test_the_models_have_names_that_work_for_drawing_and_editing(reported: Reported) -> None:
    assert {"easel", "easel:anime"} <= set(reported("openai-python", "lists_models"))


def test_the_same_seed_draws_the_same_picture(reported: Reported) -> None:
    one, other = pictures(reported("ai-sdk", "draws_with_a_seed"))
    assert one.tobytes() == other.tobytes()
    assert one.format == "WEBP"


def test_httpx_sse_follows_a_generation_to_its_result(reported: Reported) -> None:
    events = reported("httpx-sse", "follows_to_the_end")
    assert events[-1]["event"] == "result"
    assert events[-1]["data"]["status"] == "succeeded"


def test_httpx_sse_goes_on_from_the_last_event_it_has(reported: Reported) -> None:
    found = reported("httpx-sse", "goes_on_after_a_cut")
    assert found["rest"][-1]["event"] == "result"
    assert [event for event in found["rest"] if event["id"] == found["first"]] == []


def test_httpx_sse_is_told_that_nothing_follows_the_end(reported: Reported) -> None:
    assert reported("httpx-sse", "is_told_that_it_has_seen_the_end") == 204


def test_an_event_source_sees_one_result_and_ends_by_itself(reported: Reported) -> None:
    assert reported("eventsource", "ends_by_itself") == {
        "results": ["succeeded"],
        "statuses": [200, 204],
        "closed": True,
    }


def test_an_agent_finds_the_tools(reported: Reported) -> None:
    expected = {"list_modes", "draw", "edit_picture", "generation_status", "cancel_generation"}
    assert set(reported("mcp", "lists_tools")) == expected


def test_an_agent_draws_and_sees_how_far_it_is(reported: Reported) -> None:
    found = reported("mcp", "draws_with_progress")
    assert sizes(found["pictures"]) == [(512, 512)]
    assert all(step["message"] for step in found["steps"])
    done = [step["progress"] for step in found["steps"]]
    assert done == sorted(set(done))
    assert len(done) > 1


def test_an_agent_edits_a_photo(reported: Reported) -> None:
    assert len(pictures(reported("mcp", "edits"))) == 1


def test_an_agent_is_told_the_styles(reported: Reported) -> None:
    found = reported("mcp", "is_told_the_styles")
    assert found["is_error"]
    assert "did you mean 'anime'" in found["text"]


def test_an_agent_with_a_wrong_key_is_turned_away(reported: Reported) -> None:
    assert error(reported("mcp", "is_told_that_the_key_is_wrong"))["class"]
