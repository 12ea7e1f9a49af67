"""What Telegram and people do to a message: the picture comes once, in the same message."""

from itertools import pairwise

import pytest
from telegram.error import ChatMigrated

from telegram_bot.messages.rate_limiter import RateLimiter
from tests.services import until
from tests.telegram_bot.stack import GROUP, SMALL, TOKEN, Person, Stack, buttons, is_finished


@pytest.mark.parametrize("method", ["sendMessage", "editMessageMedia"])
@pytest.mark.parametrize(("fault", "more"), [("429", {"seconds": 2}), ("502", {}), ("timeout", {})])
def test_a_fault_of_telegram_costs_time_and_nothing_else(
    ann: Person, stack: Stack, fault: str, more: dict[str, int], method: str
) -> None:
    stack.fault(fault, method, chat_id=ann.id, count=1, **more)
    sent = ann.says(f"a patient fox {SMALL}")
    picture = ann.gets_picture(after=sent)
    assert ann.pictures(sent) == [picture["message_id"]]
    assert len(ann.from_bot(after=sent)) == 1


def test_a_message_that_arrived_unnoticed_is_recognised_when_its_button_is_pressed(
    ann: Person, stack: Stack
) -> None:
    stack.slow_engine(1.5)
    try:
        stack.fault("timeout", "sendMessage", chat_id=ann.id, count=1)
        sent = ann.says(f"an unsure owl {SMALL}")
        shown = ann.sees(lambda m: "✖️ Cancel" in buttons(m), "the first message", sent)
        until(lambda: any(c["fault"] for c in stack.calls("sendMessage")), "the fault")
        ann.presses(shown, "✖️ Cancel")
        stopped = ann.reads("Cancelled.", after=sent)
    finally:
        stack.slow_engine(0)
    assert stopped["message_id"] == shown["message_id"]
    assert len(ann.from_bot(after=sent)) == 1


def floods(stack: Stack) -> list[float]:
    """Return when calls were refused with a 429."""
    return [call["at"] for call in stack.calls() if call["fault"] == "429"]


def test_while_telegram_says_wait_a_chat_gets_no_progress_only_the_result(
    ann: Person, masha: Person, stack: Stack
) -> None:
    stack.slow_engine(0.7)
    try:
        sent = ann.says(f"a flooded street {SMALL}")
        ann.reads("Drawing", after=sent)
        stack.fault("429", chat_id=ann.id, count=1, seconds=4)
        until(lambda: floods(stack), "a 429")
        picture = ann.gets_picture(after=sent)
    finally:
        stack.slow_engine(0)
    flooded_at = floods(stack)[-1]
    to_ann = [c for c in stack.calls() if c["request"].get("chat_id") in (ann.id, str(ann.id))]
    after = [c for c in to_ann if c["at"] > flooded_at]
    assert after[0]["at"] - flooded_at >= 3.9
    assert [m["message_id"] for m in ann.from_bot(after=sent)] == [picture["message_id"]]
    # Meanwhile nobody else has to wait.
    asked = masha.says("/help")
    masha.reads("Под картинкой", after=asked)


def test_a_deleted_message_does_not_lose_the_picture(ann: Person, stack: Stack) -> None:
    stack.slow_engine(0.7)
    try:
        sent = ann.says(f"a tidy desk {SMALL}")
        drawing = ann.reads("Drawing", after=sent)
        body = {"chat_id": ann.id, "message_id": drawing["message_id"]}
        url = f"{stack.url['local_telegram']}/bot{TOKEN}/deleteMessage"
        assert stack.http.post(url, json=body).json()["ok"]
        picture = ann.gets_picture(after=sent)
    finally:
        stack.slow_engine(0)
    assert [m["message_id"] for m in ann.from_bot(after=sent)] == [picture["message_id"]]


def test_a_finished_message_has_been_edited_only_a_few_times(ann: Person, stack: Stack) -> None:
    stack.slow_engine(0.4)
    try:
        sent = ann.says(f"a calm sea {SMALL}")
        picture = ann.gets_picture(after=sent)
    finally:
        stack.slow_engine(0)
    edits = [
        call["at"]
        for call in stack.calls()
        if call["method"].startswith("editMessage")
        and str(call["request"].get("message_id")) == str(picture["message_id"])
    ]
    gaps = [later - earlier for earlier, later in pairwise(edits[:-1])]
    assert all(gap > 1.9 for gap in gaps)
    assert is_finished(picture)


def test_a_muted_bot_stops_writing_and_the_gpu_is_not_kept_busy_for_it(
    alex: Person, stack: Stack
) -> None:
    stack.slow_engine(1)
    try:
        stack.fault("muted", "sendMessage", chat_id=GROUP, count=1000)
        before = len(stack.calls("sendMessage"))
        alex.says(f"/draw a silent film {SMALL}")
        until(
            lambda: any(
                g["prompt"] == "a silent film" and g["status"] == "cancelled"
                for g in stack.generations(alex.id)
            ),
            "it is cancelled",
        )
        assert len(stack.calls("sendMessage")) - before <= 3
    finally:
        stack.slow_engine(0)
        stack.http.delete(f"{stack.url['local_telegram']}/chat/faults")


def test_in_a_group_that_forbids_photos_the_bot_says_who_can_allow_them(
    alex: Person, stack: Stack
) -> None:
    stack.fault("no_media", "editMessageMedia", chat_id=GROUP, count=1000)
    try:
        sent = alex.says(f"/draw a hidden gallery {SMALL}")
        told = alex.reads("An admin of the group can allow it", after=sent)
        assert buttons(told) == ["📄 PNG file"]
    finally:
        stack.http.delete(f"{stack.url['local_telegram']}/chat/faults")


async def test_what_is_sent_to_a_group_that_moved_arrives_in_its_new_place() -> None:
    data = {"chat_id": -5}

    async def call() -> bool:
        if data["chat_id"] == -5:
            raise ChatMigrated(-1005)
        return True

    assert await RateLimiter().process_request(call, (), {}, "sendMessage", data, None)
    assert data == {"chat_id": -1005}
