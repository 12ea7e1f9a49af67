"""What Telegram, people and networks do to a bot: the picture comes once, in the same message."""

from contextlib import suppress
from itertools import pairwise

import httpx
import pytest

from telegram_bot.storage.people import People
from tests.telegram_bot.stack import (
    TOKEN,
    Person,
    Service,
    Stack,
    buttons,
    is_finished,
    photo,
    until,
    words,
)

SMALL = "--size 256x256"


def pictures(person: Person, after: int) -> list[int]:
    return [m["message_id"] for m in person.from_bot(after) if m.get("photo")]


@pytest.mark.parametrize("method", ["sendMessage", "editMessageMedia"])
@pytest.mark.parametrize(("fault", "more"), [("429", {"seconds": 2}), ("502", {}), ("timeout", {})])
def test_a_fault_of_telegram_costs_time_and_nothing_else(
    ann: Person, stack: Stack, fault: str, more: dict[str, int], method: str
) -> None:
    stack.fault(fault, method, chat_id=ann.id, count=1, **more)
    sent = ann.says(f"a patient fox {SMALL}")
    picture = ann.gets_picture(after=sent)
    assert pictures(ann, sent) == [picture["message_id"]]
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


def test_while_telegram_says_wait_a_chat_gets_no_progress_only_the_result(
    ann: Person, masha: Person, stack: Stack
) -> None:
    stack.slow_engine(0.7)
    try:
        sent = ann.says(f"a flooded street {SMALL}")
        ann.reads("Drawing", after=sent)
        stack.fault("429", chat_id=ann.id, count=1, seconds=4)
        flooded = until(lambda: [c for c in stack.calls() if c["fault"] == "429"], "a 429")[-1]
        picture = ann.gets_picture(after=sent)
    finally:
        stack.slow_engine(0)
    to_ann = [c for c in stack.calls() if c["request"].get("chat_id") in (ann.id, str(ann.id))]
    after = [c for c in to_ann if c["at"] > flooded["at"]]
    assert after[0]["at"] - flooded["at"] >= 3.9
    assert [m["message_id"] for m in ann.from_bot(after=sent)] == [picture["message_id"]]
    # Meanwhile nobody else has to wait.
    asked = masha.says("/help")
    masha.reads("Под картинкой", after=asked)


def test_whoever_blocks_the_bot_frees_the_gpu_and_may_come_back(ann: Person, stack: Stack) -> None:
    stack.slow_engine(1.0)
    try:
        sent = ann.says(f"an ungrateful heron {SMALL}")
        ann.reads("Drawing", after=sent)
        stack.telegram_post("/chat/people", user_id=ann.id, blocked=True)
        until(
            lambda: stack.generations(ann.id)[0]["status"] == "cancelled",
            "the generation is cancelled",
        )
    finally:
        stack.slow_engine(0)
    stack.telegram_post("/chat/people", user_id=ann.id, blocked=False)
    again = ann.says(f"a grateful heron {SMALL}")
    ann.gets_picture(after=again)


def test_an_update_served_twice_is_one_picture(ann: Person, stack: Stack) -> None:
    stack.fault("duplicate_update", count=1)
    sent = ann.says(f"one swan {SMALL}")
    picture = ann.gets_picture(after=sent)
    stack.fault("stale_update")
    asked = ann.says("/help")
    ann.reads("Under a picture", after=asked)
    assert len(stack.generations(ann.id)) == 1
    assert pictures(ann, sent) == [picture["message_id"]]


def test_a_press_served_twice_is_one_picture(ann: Person, stack: Stack) -> None:
    picture = ann.gets_picture(after=ann.says(f"a lone wolf {SMALL}"))
    stack.fault("duplicate_update", count=1)
    ann.presses(picture, "🔁 Again")
    ann.gets_picture(after=picture["message_id"])
    asked = ann.says("/help")
    ann.reads("Under a picture", after=asked)
    assert len(stack.generations(ann.id)) == 2


def test_two_quick_taps_are_one_picture(ann: Person, stack: Stack) -> None:
    picture = ann.gets_picture(after=ann.says(f"a nervous hare {SMALL}"))
    assert ann.presses(picture, "🔁 Again")["answer"] == "On it"
    assert ann.presses(picture, "🔁 Again")["answer"] == "Already on it"
    ann.gets_picture(after=picture["message_id"])
    assert len(stack.generations(ann.id)) == 2


def test_a_press_that_telegram_calls_too_old_still_does_its_work(ann: Person, stack: Stack) -> None:
    picture = ann.gets_picture(after=ann.says(f"a late train {SMALL}"))
    stack.fault("stale_callback", chat_id=ann.id, count=1)
    with suppress(httpx.ReadTimeout):  # nothing is answered
        ann.presses(picture, "🔁 Again", timeout=1)
    ann.gets_picture(after=picture["message_id"])


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


def without_previews(person: Person) -> None:
    """So that the only photo put into a message is the picture."""
    menu = person.reads("Settings", after=person.says("/settings"))
    person.presses(menu, "Live preview: on")
    person.sees(lambda m: "Live preview: off" in buttons(m), "the switch")


def test_a_photo_that_telegram_refuses_comes_as_a_file(ann: Person, stack: Stack) -> None:
    without_previews(ann)
    stack.fault("photo_refused", "editMessageMedia", chat_id=ann.id, count=1)
    sent = ann.says(f"a very long wall --seed 6 {SMALL}")
    shown = ann.sees(lambda m: m.get("document"), "the file", sent)
    assert shown["file_name"] == "easel-6.png"
    assert words(shown).startswith("Realism · 256×256 · seed 6")
    assert "🔁 Again" in buttons(shown)
    assert [m["message_id"] for m in ann.from_bot(after=sent)] == [shown["message_id"]]


def test_a_picture_that_telegram_takes_in_no_way_is_not_called_lost(
    ann: Person, stack: Stack
) -> None:
    without_previews(ann)
    stack.fault("photo_refused", "editMessageMedia", chat_id=ann.id, count=2)
    sent = ann.says(f"a cursed wall --seed 7 {SMALL}")
    told = ann.reads("The picture is drawn, but Telegram doesn't take it", after=sent)
    ann.presses(told, "📄 PNG file")
    file = ann.sees(lambda m: m.get("document"), "the file", sent)
    assert file["file_name"] == "easel-7.png"


@pytest.mark.parametrize("letters", ["😀" * 520, "𝓯𝓸𝔁 " * 60])
def test_a_prompt_of_wide_letters_fits_into_its_caption(ann: Person, letters: str) -> None:
    """Telegram counts each of them twice."""
    sent = ann.says(f"{letters} {SMALL}")
    picture = ann.gets_picture(after=sent)
    assert letters[:100] in words(picture)
    assert "📋 Copy prompt" in buttons(picture)


def test_a_cancel_that_comes_too_late_deletes_nothing(ann: Person, stack: Stack) -> None:
    sent = ann.says(f"a fast hare {SMALL}")
    drawing = ann.sees(lambda m: "✖️ Cancel" in buttons(m), "the first message", sent)
    until(lambda: stack.generations(ann.id)[0]["status"] == "succeeded", "it is drawn")
    with suppress(AssertionError):  # the button may have gone already
        ann.presses(drawing, "✖️ Cancel")
    ann.gets_picture(after=sent)
    assert stack.generations(ann.id)[0]["images"]


def test_a_line_of_ones_own_that_is_full_keeps_the_prompt_and_offers_another_try(
    ann: Person, stack: Stack
) -> None:
    stack.slow_engine(1.5)
    try:
        for n in range(4):
            ann.says(f"picture {n} {SMALL}")
        until(lambda: len(stack.generations(ann.id)) == 4, "four generations")
        sent = ann.says(f"one too many {SMALL}")
        refused = ann.reads("That was a lot at once", after=sent)
        assert "one too many" in words(refused)
        assert buttons(refused) == ["🔁 Try again"]
    finally:
        stack.slow_engine(0)
    until(
        lambda: all(g["status"] == "succeeded" for g in stack.generations(ann.id)), "four pictures"
    )
    ann.presses(refused, "🔁 Try again")
    ann.sees(
        lambda m: is_finished(m) and m["message_id"] == refused["message_id"], "the fifth picture"
    )


def test_nobody_presses_somebody_elses_buttons(alex: Person, maria: Person, stack: Stack) -> None:
    before = len(stack.generations(1002))
    sent = alex.says(f"/draw a private thing {SMALL}")
    picture = alex.gets_picture(after=sent)
    for button in ("🔁 Again", "🗑 Delete", "⭐ Favourite", "📄 PNG file"):
        assert "не ваша" in maria.presses(picture, button)["answer"]
    asked = alex.says("/draw")
    menu = alex.reads("Describe the picture", after=asked)
    assert "не ваша" in maria.presses(menu, "✖️ Cancel")["answer"]
    assert len(stack.generations(1002)) == before


def test_in_a_group_the_bot_only_answers_when_it_is_meant(alex: Person, stack: Stack) -> None:
    ignored = alex.says("what a lovely day")
    sent = alex.says(f"@easel_local_bot a bicycle {SMALL}")
    picture = alex.gets_picture(after=sent)
    assert "a bicycle" in words(picture)
    assert "@easel" not in words(picture)
    answered = alex.says(f"a tandem {SMALL}", reply_to=picture["message_id"])
    assert "a tandem" in words(alex.gets_picture(after=answered))
    replies = [m["reply_to"]["message_id"] for m in alex.from_bot(after=ignored) if m["reply_to"]]
    assert ignored not in replies


def test_a_photo_in_a_group_is_restyled_on_request(alex: Person, stack: Stack) -> None:
    sent = alex.sends(photo=photo())
    asked = alex.says(f"/restyle --style anime --strength 0.6 {SMALL}", reply_to=sent)
    picture = alex.gets_picture(after=asked)
    assert words(picture).startswith("Anime")
    assert [m for m in alex.from_bot(after=sent) if m["message_id"] < asked] == []


def test_errors_are_told_without_a_traceback(ann: Person, bot: Service) -> None:
    """A menu of a style that is no more."""
    ann.says("/draw")
    menu = ann.reads("Describe the picture")
    answer = ann.presses(menu, "▭ 3:2")["answer"]
    assert answer == "3:2"
    menu = ann.sees(lambda m: "✅ 3:2" in buttons(m), "the mark")
    ann.presses(menu, "✅ 3:2")  # not modified
    sent = ann.says("/help")
    ann.reads("Under a picture", after=sent)
    for message in ann.from_bot():
        assert "Traceback" not in words(message)
        assert "Code" not in words(message)


def test_a_bot_whose_token_is_revoked_ends_and_says_so(bot: Service, stack: Stack) -> None:
    """Deaf, it would look as if it were at work."""
    stack.fault("401", "getUpdates", count=1)
    until(bot.has_ended, "the bot ends")
    assert "BOT_TOKEN is not accepted by Telegram" in bot.log()
    assert bot.stop() == 2


def test_after_a_block_is_lifted_broadcasts_reach_the_person_again(
    ann: Person, masha: Person, stack: Stack
) -> None:
    for person in (ann, masha):
        person.says("/start")
        person.sees(words, "the menu")
        stack.telegram_post("/chat/people", user_id=person.id, blocked=True)
    with stack.bots_database() as database:
        reached = People(database)
        until(lambda: not {ann.id, masha.id} & set(reached.reachable()), "nobody is written to")
        stack.telegram_post("/chat/people", user_id=ann.id, blocked=False)
        until(lambda: ann.id in reached.reachable(), "she can be written to")
        assert masha.id not in reached.reachable()


def test_the_token_is_in_no_log(ann: Person, bot: Service, stack: Stack) -> None:
    ann.gets_picture(after=ann.says(f"a quiet lake {SMALL}"))
    assert bot.log()
    assert TOKEN not in bot.log()
    assert TOKEN.split(":")[1] not in bot.log()
    assert "a quiet lake" not in bot.log()


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
