"""Clients of event streams and of the Model Context Protocol."""

import pytest

from tests.clients.conftest import Reported
from tests.clients.seen import error, pictures, sizes

pytestmark = pytest.mark.timeout(320)  # the first run installs


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
