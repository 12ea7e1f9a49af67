"""Clients that are generated from `/openapi.json`: they are made whole, and they work."""

from typing import Any

import pytest

from tests.clients.conftest import Reported
from tests.clients.seen import sizes

pytestmark = pytest.mark.timeout(320)  # the first run installs
GENERATORS = ("openapi-python-client", "hey-api")


@pytest.mark.parametrize("service", ["backend", "gpu_server"])
def test_a_linter_finds_nothing_in_the_document(reported: Reported, service: str) -> None:
    assert reported("redocly", service) == []


def test_a_python_client_lacks_nothing_and_has_one_type_of_error(reported: Reported) -> None:
    found = reported("openapi-python-client", "is_generated_whole")
    assert "WARNING" not in found["said"].upper()
    assert found["copies"] == []


def test_a_typescript_program_that_uses_the_client_type_checks(reported: Reported) -> None:
    assert reported("hey-api", "type_checks") == ""


@pytest.mark.parametrize("generator", GENERATORS)
def test_it_draws_from_words_and_from_a_photo(reported: Reported, generator: str) -> None:
    assert sizes(reported(generator, "draws")) == [(256, 256)]
    assert len(sizes(reported(generator, "redraws_a_photo"))) == 1


@pytest.mark.parametrize("generator", GENERATORS)
def test_it_follows_a_generation_and_fetches_its_image(reported: Reported, generator: str) -> None:
    found = reported(generator, "follows_and_fetches")
    assert sizes(found["image"]) == [(256, 256)]
    assert _is_followed_to_the_end(found)


def _is_followed_to_the_end(found: dict[str, Any]) -> bool:
    """Tell by the events, or by the whole text of a client that knows no event streams."""
    if "events" in found:
        return "event: result" in str(found["events"])
    return [found["status"], found["stages"][-1]] == ["succeeded", "done"]


@pytest.mark.parametrize("generator", GENERATORS)
def test_it_reads_what_was_wrong(reported: Reported, generator: str) -> None:
    expected = {"code": "invalid_request", "fields": ["width"]}
    assert reported(generator, "is_told_what_is_wrong") == expected
    assert "1 to" in reported(generator, "reads_an_error_in_the_words_of_openai")


def test_it_reads_that_its_key_is_wrong(reported: Reported) -> None:
    found = reported("openapi-python-client", "is_told_that_the_key_is_wrong")
    assert found == "unauthorized"
