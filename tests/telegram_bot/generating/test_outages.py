"""`kill -9` of the bot, the backend, the GPU server or all in mid-job: the same message goes on."""

from tests.services import until
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, is_finished, words


def test_a_killed_bot_goes_on_in_the_same_message(
    ann: Person, masha: Person, bot: Service, stack: Stack
) -> None:
    stack.slow_engine(1.2)
    try:
        sent, posted = ann.says(f"a phoenix {SMALL}"), masha.says(f"феникс {SMALL}")
        drawing = ann.reads("Drawing", after=sent)
        bot.kill()
        stack.restart(bot)
        assert ann.reads("Still on it…", after=sent)["message_id"] == drawing["message_id"]
    finally:
        stack.slow_engine(0)
    ann.gets_picture(after=sent)
    masha.gets_picture(after=posted)
    assert ann.only_picture(sent) == drawing["message_id"]
    masha.only_picture(posted)
    assert len(stack.generations(ann.id)) == 1


def test_a_bot_killed_at_any_moment_of_a_job_delivers_once(
    ann: Person, bot: Service, stack: Stack
) -> None:
    """The bot is killed as soon as the message is there, and again when the picture is drawn."""
    sent = ann.says(f"a twice killed cat {SMALL}")
    ann.sees(lambda m: "✖️ Cancel" in buttons(m) or m.get("photo"), "the first message", sent)
    bot.kill()
    until(lambda: stack.generations(ann.id)[0]["status"] == "succeeded", "it is drawn")
    stack.restart(bot)
    bot.kill()
    stack.restart(bot)
    ann.gets_picture(after=sent)
    ann.only_picture(sent)
    assert len(stack.generations(ann.id)) == 1


def test_a_killed_backend_is_waited_for_and_the_message_goes_on(
    ann: Person, bot: Service, stack: Stack
) -> None:
    stack.slow_engine(1.0)
    try:
        sent = ann.says(f"a lighthouse in a storm {SMALL}")
        drawing = ann.reads("Drawing", after=sent)
        stack.backend.kill()
        ann.reads("The server isn't answering. I'll keep your request", after=sent)
        late = ann.says(f"a second wish {SMALL}")
        held = ann.reads("The server isn't answering", after=late)
        assert buttons(held) == ["✖️ Forget it"]
        stack.backend.start()
    finally:
        stack.slow_engine(0)
    picture = ann.gets_picture(after=sent)
    assert picture["message_id"] == drawing["message_id"]
    ann.gets_picture(after=late)
    stack.backend.wait_ready()
    assert len(stack.generations(ann.id)) == 2


def test_bot_and_backend_killed_together_lose_nothing(
    masha: Person, bot: Service, stack: Stack
) -> None:
    stack.slow_engine(1.0)
    try:
        sent = masha.says(f"гроза {SMALL}")
        drawing = masha.reads("Рисую", after=sent)
        stack.backend.kill()
        bot.kill()
        stack.restart(bot)
        stack.backend.start()
        stack.backend.wait_ready()
    finally:
        stack.slow_engine(0)
    picture = masha.gets_picture(after=sent)
    assert picture["message_id"] == drawing["message_id"]
    masha.only_picture(sent)
    assert len(stack.generations(masha.id)) == 1


def test_without_a_gpu_the_request_waits_and_says_so(
    masha: Person, admin: Person, bot: Service, stack: Stack
) -> None:
    stack.gpu_server.kill()
    try:
        health = f"{stack.url['backend']}/health"
        until(lambda: not stack.http.get(health).json()["gpu_available"], "the GPU is gone")
        sent = masha.says(f"маяк {SMALL}")
        masha.reads("Видеокарта не отвечает. Сохраню запрос и начну, когда она вернётся", sent)
        asked = stack.person("ru", admin.id).says("/queue")
        admin.reads("не работает (No answer", after=asked)
        asked = masha.says("/start")
        assert "Пока это наброски" in words(masha.reads("Я превращаю", after=asked))
    finally:
        stack.gpu_server.start()
        stack.gpu_server.wait_ready()
    assert "маяк" in words(masha.gets_picture(after=sent))


def test_a_bot_told_to_stop_does_so_at_once_and_goes_on_later(
    ann: Person, bot: Service, stack: Stack
) -> None:
    stack.slow_engine(1.0)
    try:
        sent = ann.says(f"an interrupted song {SMALL}")
        drawing = ann.reads("Drawing", after=sent)
        assert bot.stop() == 0
        stack.restart(bot)
    finally:
        stack.slow_engine(0)
    assert ann.gets_picture(after=sent)["message_id"] == drawing["message_id"]


def test_a_persons_full_queue_keeps_the_prompt_and_offers_another_try(
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
