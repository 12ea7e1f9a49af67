"""`kill -9` of the bot, the backend, the GPU server or all in mid-job: the same message goes on."""

from tests.telegram_bot.stack import Person, Service, Stack, buttons, photo, until, words

SMALL = "--size 256x256"


def one_message(person: Person, after: int) -> int:
    """The id of the only message of the bot, which has the picture."""
    [message] = person.from_bot(after)
    assert message.get("photo")
    return int(message["message_id"])


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
    assert one_message(ann, sent) == drawing["message_id"]
    one_message(masha, posted)
    assert len(stack.generations(ann.id)) == 1


def test_what_is_said_while_the_bot_is_down_is_drawn_when_it_is_back(
    ann: Person, bot: Service, stack: Stack
) -> None:
    bot.kill()
    sent = ann.says(f"an early bird {SMALL}")
    stack.restart(bot)
    ann.gets_picture(after=sent)
    one_message(ann, sent)


def test_a_bot_killed_at_any_moment_of_a_job_delivers_once(
    ann: Person, bot: Service, stack: Stack
) -> None:
    """Killed as soon as the message is there, and again when the picture is drawn."""
    sent = ann.says(f"a twice killed cat {SMALL}")
    ann.sees(lambda m: "✖️ Cancel" in buttons(m) or m.get("photo"), "the first message", sent)
    bot.kill()
    until(lambda: stack.generations(ann.id)[0]["status"] == "succeeded", "it is drawn")
    stack.restart(bot)
    bot.kill()
    stack.restart(bot)
    ann.gets_picture(after=sent)
    one_message(ann, sent)
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
    one_message(masha, sent)
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


def test_whoever_deletes_everything_in_mid_job_gets_nothing_any_more(
    ann: Person, bot: Service, stack: Stack
) -> None:
    stack.slow_engine(1.0)
    try:
        sent = ann.says(f"a last wish {SMALL}")
        ann.reads("Drawing", after=sent)
        ann.says("/privacy")
        ann.presses(ann.reads("Stored on this server"), "🗑 Delete my data")
        question = ann.sees(lambda m: "🗑 Delete everything" in buttons(m), "the question")
        ann.presses(question, "🗑 Delete everything")
        ann.reads("Deleted: 0 pictures")
        ann.reads("Cancelled.", after=sent)
    finally:
        stack.slow_engine(0)
    ann.gets_picture(after=ann.says(f"a first wish {SMALL}"))
    assert [g["prompt"] for g in stack.generations(ann.id)] == ["a first wish"]


def test_an_album_is_asked_about_though_the_bot_was_killed_while_it_came(
    ann: Person, bot: Service, stack: Stack
) -> None:
    query, hers = "SELECT count(*) FROM albums WHERE group_id GLOB ?", f"{ann.id}/*"
    sent = ann.sends(photos=[photo(320, 240 + 80 * i) for i in range(3)])
    with stack.bots_database() as known:
        until(lambda: known.count(query, hers) == 3, "the bot has them")
    bot.kill()
    assert not ann.from_bot(sent)
    stack.restart(bot)
    ann.reads("I got 3 photos. Use:", after=sent)


def flooded(stack: Stack) -> list[int]:
    """The chats that a message was refused to."""
    calls = stack.calls("sendMessage")
    return [int(call["request"]["chat_id"]) for call in calls if call["fault"] == "429"]


def test_a_broadcast_goes_on_where_the_bot_was_killed(
    admin: Person, ann: Person, masha: Person, bot: Service, stack: Stack
) -> None:
    for person in (ann, masha):
        person.says("/start")
        person.sees(words, "the greeting")
    stack.fault("429", "sendMessage", chat_id=masha.id, count=1, seconds=60)
    preview = admin.reads("Maintenance", after=admin.says("/broadcast Maintenance tonight"))
    [send] = [button for button in buttons(preview) if button.startswith("Send to")]
    admin.presses(preview, send)
    until(lambda: masha.id in flooded(stack), "masha's turn, after ann's")
    bot.kill()
    stack.restart(bot)
    masha.reads("Maintenance tonight")
    told = admin.reads("Sent to")
    assert told["message_id"] == preview["message_id"]
    for person in (ann, masha):
        assert [words(m) for m in person.from_bot()].count("Maintenance tonight") == 1
