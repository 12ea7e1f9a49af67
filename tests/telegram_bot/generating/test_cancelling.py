"""Generations that nobody waits for are not drawn, and no finished one is lost."""

from contextlib import suppress

from tests.services import until
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, words


def test_blocking_the_bot_frees_the_gpu_and_can_be_undone(ann: Person, stack: Stack) -> None:
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


def test_a_cancel_that_comes_too_late_deletes_nothing(ann: Person, stack: Stack) -> None:
    sent = ann.says(f"a fast hare {SMALL}")
    drawing = ann.sees(lambda m: "✖️ Cancel" in buttons(m), "the first message", sent)
    until(lambda: stack.generations(ann.id)[0]["status"] == "succeeded", "it is drawn")
    with suppress(AssertionError):  # the button may have gone already
        ann.presses(drawing, "✖️ Cancel")
    ann.gets_picture(after=sent)
    assert stack.generations(ann.id)[0]["images"]


def test_a_forgotten_request_is_never_drawn(ann: Person, bot: Service, stack: Stack) -> None:
    stack.backend.kill()
    sent = ann.says(f"an abandoned ship {SMALL}")
    held = ann.reads("The server isn't answering", after=sent)
    ann.presses(held, "✖️ Forget it")
    ann.reads("Cancelled.", after=sent)
    stack.backend.start()
    stack.backend.wait_ready()
    ann.gets_picture(after=ann.says(f"a proud ship {SMALL}"))
    drawn = [g["prompt"] for g in stack.generations(ann.id) if g["status"] == "succeeded"]
    assert drawn == ["a proud ship"]


def test_a_cancel_is_not_forgotten_by_a_kill(ann: Person, bot: Service, stack: Stack) -> None:
    stack.slow_engine(2.0)
    try:
        sent = ann.says(f"an unwanted gift {SMALL}")
        drawing = ann.reads("Drawing", after=sent)
        stack.backend.freeze()
        assert ann.presses(drawing, "✖️ Cancel")["answer"] == "Cancelling…"
        ann.reads("✖️ Cancelling…", after=sent)
        bot.kill()
        stack.backend.thaw()
        stack.restart(bot)
        stopped = ann.reads("Cancelled.", after=sent)
        until(lambda: stack.generations(ann.id)[0]["status"] == "cancelled", "the backend is told")
    finally:
        stack.backend.thaw()
        stack.slow_engine(0)
    assert stopped["message_id"] == drawing["message_id"]
    assert buttons(stopped) == ["🔁 Try again"]
    assert len(ann.from_bot(after=sent)) == 1


def test_cancel_said_twice_stops_two_pictures(ann: Person, bot: Service, stack: Stack) -> None:
    stack.slow_engine(2.0)
    try:
        sent = ann.says(f"one egg {SMALL}")
        ann.reads("Drawing", after=sent)
        second = ann.says(f"two eggs {SMALL}")
        ann.reads("In line", after=second)
        stack.backend.freeze()
        asked = ann.says("/cancel")
        ann.says("/cancel")
        until(
            lambda: [words(m) for m in ann.from_bot(asked)].count("Cancelling…") == 2,
            "two cancellations",
        )
        stack.backend.thaw()
        until(
            lambda: (
                [words(m).startswith("Cancelled.") for m in ann.from_bot(sent)].count(True) == 2
            ),
            "two messages that say so",
        )
    finally:
        stack.backend.thaw()
        stack.slow_engine(0)
    assert {g["status"] for g in stack.generations(ann.id)} == {"cancelled"}


def test_a_forgotten_request_can_be_tried_again_before_the_backend_is_back(
    ann: Person, bot: Service, stack: Stack
) -> None:
    stack.backend.kill()
    sent = ann.says(f"a reconsidered ship {SMALL}")
    ann.presses(ann.reads("The server isn't answering", after=sent), "✖️ Forget it")
    stopped = ann.reads("Cancelled.", after=sent)
    assert ann.presses(stopped, "🔁 Try again")["answer"] == "On it"
    stack.backend.start()
    stack.backend.wait_ready()
    assert ann.gets_picture(after=sent)["message_id"] == stopped["message_id"]
    assert len(stack.generations(ann.id)) == 1
