"""Button presses: repeated, late, and on other people's buttons."""

from contextlib import suppress

import httpx

from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, words


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


def test_nobody_can_press_the_buttons_of_others(alex: Person, maria: Person, stack: Stack) -> None:
    before = len(stack.generations(1002))
    sent = alex.says(f"/draw a private thing {SMALL}")
    picture = alex.gets_picture(after=sent)
    for button in ("🔁 Again", "🗑 Delete", "⭐ Favourite", "📄 PNG file"):
        assert "не ваша" in maria.presses(picture, button)["answer"]
    asked = alex.says("/draw")
    menu = alex.reads("Describe the picture", after=asked)
    assert "не ваша" in maria.presses(menu, "✖️ Cancel")["answer"]
    assert len(stack.generations(1002)) == before


def test_errors_are_told_without_a_traceback(ann: Person, bot: Service) -> None:
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
