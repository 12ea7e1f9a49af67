"""Who is let in, on every kind of update."""

from tests.telegram_bot.conftest import StartBot
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import GROUP, SMALL, Stack, photo, words


def test_a_private_bot_turns_strangers_away_whatever_they_send(
    stack: Stack, bot: Service, other_bot: StartBot
) -> None:
    stranger, friend = stack.person("en"), stack.person("ru")
    stack.restart(bot)
    menu_of = stranger.says("/start")
    old_menu = stranger.reads("I turn words", after=menu_of)
    bot.stop()
    other_bot(BOT_ALLOWED_USERS=f"{friend.id},31337")
    things: list[dict[str, object]] = [
        {"text": "/start"},
        {"text": "a picture"},
        {"photo": photo()},
        {"document": photo(), "file_name": "a.jpg"},
        {"text": "/privacy"},
    ]
    for thing in things:
        sent = stranger.sends(**thing)
        answer = words(stranger.sees(words, "an answer", sent))
        assert answer == f"This bot is private. Your ID: {stranger.id} — send it to the owner."
    pressed = stranger.presses(old_menu, "🎨 Free generation")
    assert pressed["answer"] == f"This bot is private. Your ID: {stranger.id}"
    assert stack.generations(stranger.id) == []
    friend.gets_picture(after=friend.says(f"дружба {SMALL}"))


def test_a_group_on_the_list_lets_its_members_in_and_no_other_group_is_answered(
    stack: Stack, other_bot: StartBot
) -> None:
    alex, private = stack.person("en", 1001).in_group(), stack.person("en", 1001)
    other_bot(BOT_ALLOWED_USERS=str(GROUP))
    sent = alex.says(f"/draw a shared dream {SMALL}")
    alex.gets_picture(after=sent)
    refused = private.says("a dream of my own")
    private.reads("This bot is private", after=refused)
