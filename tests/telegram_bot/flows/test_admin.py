"""Commands for admins: figures, bans, broadcasts and pauses."""

from tests.services import until
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, words


def test_a_button_pressed_during_a_pause_is_answered(admin: Person, masha: Person) -> None:
    picture = masha.gets_picture(after=masha.says(f"лодка {SMALL}"))
    asked = admin.says("/pause")
    admin.reads("Paused:", after=asked)
    try:
        assert masha.presses(picture, "🔁 Ещё")["answered"]
        masha.reads("Бот на паузе", after=picture["message_id"])
    finally:
        admin.says("/resume")
        admin.reads("Open again", after=asked)


def test_an_admin_command_from_others_in_a_group_is_ignored(alex: Person) -> None:
    ignored = alex.says("/ban 1")
    answered = alex.says("/help")
    alex.reads("Under a picture", after=answered)
    assert [m["message_id"] for m in alex.from_bot(ignored) if m["message_id"] < answered] == []


def test_admins_see_figures_and_the_queue(admin: Person) -> None:
    admin.says("/stats")
    admin.reads("People:")
    admin.says("/queue")
    assert "✅" in words(admin.reads("Waiting:"))


def test_admins_see_who_was_refused_what_and_never_the_words(admin: Person, ann: Person) -> None:
    sent = ann.says("an explicit zebra, porn")
    ann.reads("this server doesn't allow sexual content", after=sent)
    asked = admin.says("/refusals")
    told = words(admin.reads("Refused in 30 days", after=asked))
    assert f"tg{ann.id}: sexual content, 1 ×" in told
    assert "zebra" not in told


def test_a_ban_shuts_a_person_out_until_it_is_lifted(admin: Person, ann: Person) -> None:
    ann.says("/start")
    ann.reads("I turn words")
    admin.says(f"/ban {ann.id}")
    admin.reads(f"{ann.id} is banned")
    sent = ann.says("a picture please")
    ann.reads("You can't use this bot", after=sent)
    admin.says(f"/unban {ann.id}")
    admin.reads(f"{ann.id} may use the bot again")
    ann.gets_picture(after=ann.says(f"thank you {SMALL}"))


def test_a_broadcast_is_previewed_with_its_count_before_it_is_sent(
    admin: Person, ann: Person
) -> None:
    ann.says("/start")
    ann.reads("I turn words")
    asked = admin.says("/broadcast Maintenance at <noon>")
    preview = admin.reads("Maintenance at <noon>", after=asked)
    [send] = [button for button in buttons(preview) if button.startswith("Send to")]
    count = int(send.split()[2])
    assert count >= 2
    admin.presses(preview, send)
    ann.reads("Maintenance at <noon>")


def test_a_pause_refuses_new_requests_with_its_reason(admin: Person, masha: Person) -> None:
    asked = admin.says("/pause new GPU")
    admin.reads("Paused:", after=asked)
    sent = masha.says("лодка")
    masha.reads("Бот на паузе: new GPU", after=sent)
    admin.says("/resume")
    admin.reads("Open again", after=asked)
    masha.gets_picture(after=masha.says(f"лодка {SMALL}"))


def test_admin_commands_are_for_admins(ann: Person) -> None:
    for command in ("/stats", "/queue", "/refusals", "/ban 1", "/broadcast x", "/pause"):
        sent = ann.says(command)
        ann.reads("I don't know that one", after=sent)


def flooded(stack: Stack) -> list[int]:
    """Return the chats in which a message was refused with status 429."""
    calls = stack.calls("sendMessage")
    return [int(call["request"]["chat_id"]) for call in calls if call["fault"] == "429"]


def test_a_broadcast_goes_on_where_the_bot_was_killed(
    admin: Person, ann: Person, masha: Person, bot: Service, stack: Stack
) -> None:
    for person in (ann, masha):
        person.says("/start")
        person.sees(words, "the greeting")
    stack.fault("429", "sendMessage", chat_id=masha.id, count=1, seconds=60)
    asked = admin.says("/broadcast Maintenance tonight")
    preview = admin.reads("Maintenance", after=asked)
    [send] = [button for button in buttons(preview) if button.startswith("Send to")]
    admin.presses(preview, send)
    until(lambda: masha.id in flooded(stack), "masha's turn, after ann's")
    bot.kill()
    stack.restart(bot)
    masha.reads("Maintenance tonight")
    told = admin.reads("Sent to", after=asked)
    assert told["message_id"] == preview["message_id"]
    for person in (ann, masha):
        assert [words(m) for m in person.from_bot()].count("Maintenance tonight") == 1


def test_the_words_of_an_admins_command_may_begin_on_the_next_line(
    admin: Person, ann: Person
) -> None:
    ann.sees(words, "the menu", ann.says("/start"))
    admin.reads(f"{ann.id} is banned", after=admin.says(f"/ban\n{ann.id}"))
    admin.reads("may use the bot again", after=admin.says(f"/unban\t{ann.id}"))
    admin.reads("Hello everybody", after=admin.says("/broadcast\nHello everybody, it is open"))
