"""Addresses that are not here: the answer says what to use, in the shape that clients show."""

import httpx
import openai
import pytest

from tests.backend.openai.pictures import KEY, photo


@pytest.mark.parametrize("base", ["", "/openai", "/openai/v1", "/openai/deployments/gpt-image-2"])
def test_a_base_url_without_v1_is_told_so(url: str, base: str) -> None:
    with openai.OpenAI(base_url=f"{url}{base}", api_key=KEY, max_retries=0) as client:
        for call in (
            lambda: client.images.generate(prompt="a fox"),
            lambda: client.images.edit(prompt="a fox", image=photo()),
            client.models.list,
            lambda: client.chat.completions.create(model="easel", messages=[]),
        ):
            with pytest.raises(openai.NotFoundError, match=f"in /v1, as {url}/v1 does") as raised:
                call()
            assert raised.value.type == "invalid_request_error"


def test_azure_clients_are_told_which_client_to_use(url: str) -> None:
    with (
        openai.AzureOpenAI(azure_endpoint=url, api_key=KEY, api_version="x") as azure,
        pytest.raises(openai.NotFoundError, match="not Azure's API: use OpenAI's client"),
    ):
        azure.images.generate(model="gpt-image-2", prompt="a fox")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_other_parts_of_openai_api_say_what_to_use(client: openai.OpenAI) -> None:
    for call, words in (
        (lambda: client.responses.create(model="easel", input="a fox"), "no Responses API"),
        (lambda: client.images.create_variation(image=photo()), "draws no variations"),
        (lambda: client.moderations.create(input="a fox"), "judges only what it draws"),
        (lambda: client.completions.create(model="easel", prompt="a fox"), "writes no text"),
    ):
        with pytest.raises(openai.NotFoundError, match="use POST /v1/images/generations") as raised:
            call()
        assert words in raised.value.message


def test_the_native_api_keeps_its_own_errors(url: str) -> None:
    answer = httpx.get(f"{url}/nowhere")
    assert answer.headers["content-type"] == "application/problem+json"
    assert httpx.get(f"{url}/v1/nowhere").json()["error"]["type"] == "invalid_request_error"
    wrong_method = httpx.get(f"{url}/v1/images/generations")
    assert wrong_method.status_code == 405
    assert "POST" in wrong_method.json()["error"]["message"]
