"""Who is let in, on every kind of update; and the two ways that updates come in."""

from collections.abc import Callable, Iterator

import pytest

from tests.telegram_bot.stack import (
    GROUP,
    Service,
    Stack,
    free_port,
    is_finished,
    photo,
    until,
    words,
)

SMALL = "--size 256x256"
SECRET = "a-webhook-secret_42"
StartBot = Callable[..., Service]


@pytest.fixture
def other_bot(stack: Stack, shared_bot: Service) -> Iterator[StartBot]:
    """Starts a bot of other settings in place of the usual one."""
    shared_bot.stop()
    started: list[Service] = []

    def start(**env: str) -> Service:
        started.append(stack.start_bot(BOT_API_TIMEOUT_S="3", **env))
        return started[-1]

    yield start
    for bot in started:
        bot.stop()


def test_a_private_bot_turns_everybody_else_away_whatever_they_send(
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


def test_updates_come_by_webhook_whose_secret_is_checked(stack: Stack, other_bot: StartBot) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/telegram/hook"
    bot = other_bot(BOT_WEBHOOK_URL=url, BOT_WEBHOOK_SECRET=SECRET, BOT_WEBHOOK_PORT=str(port))
    person = stack.person("en")
    message = {
        "message_id": 1,
        "date": 1,
        "chat": {"id": person.id, "type": "private"},
        "from": {"id": person.id, "is_bot": False, "first_name": "Eve"},
        "text": "forged",
    }
    forged = {"update_id": 7, "message": message}
    for headers in ({}, {"X-Telegram-Bot-Api-Secret-Token": SECRET[:-1]}):
        assert stack.http.post(url, json=forged, headers=headers).status_code == 403
    right = {"X-Telegram-Bot-Api-Secret-Token": SECRET}
    assert stack.http.post(url, content=b"{", headers=right).status_code == 400
    assert stack.http.post(url + "/other", json=forged, headers=right).status_code == 404
    sent = person.says(f"a hooked fish {SMALL}")
    picture = person.gets_picture(after=sent)
    person.presses(picture, "🔁 Again")
    person.gets_picture(after=picture["message_id"])
    assert [g["prompt"] for g in stack.generations(person.id)] == ["a hooked fish"] * 2
    # What comes while the bot is dead is delivered by Telegram again.
    bot.kill()
    late = person.says(f"a late fish {SMALL}")
    stack.restart(bot)
    person.sees(lambda m: is_finished(m) and "a late fish" in words(m), "the late fish", late)
    assert SECRET not in bot.log()


@pytest.mark.parametrize("method", ["getMe", "setWebhook"])
def test_a_bot_without_network_at_boot_waits_for_it(
    stack: Stack, other_bot: StartBot, method: str
) -> None:
    port = free_port()
    hook = {"BOT_WEBHOOK_SECRET": SECRET, "BOT_WEBHOOK_PORT": str(port)}
    hook["BOT_WEBHOOK_URL"] = f"http://127.0.0.1:{port}/hook"
    stack.fault("502", method, count=2)
    other_bot(**hook if method == "setWebhook" else {})
    person = stack.person("ru")
    person.says("/start")
    person.reads("Я превращаю")


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"BOT_TOKEN": "nonsense"}, "BOT_TOKEN: it is not a bot's token"),
        ({"BOT_ALLOWED_USERS": "1,two"}, "BOT_ALLOWED_USERS: 'two' is not a Telegram id"),
        ({"BOT_WEBHOOK_URL": "https://example.org/x"}, "BOT_WEBHOOK_URL needs BOT_WEBHOOK_SECRET"),
        ({"BOT_WEBHOOK_SECRTE": "x"}, "did you mean BOT_WEBHOOK_SECRET"),
        ({"BOT_TOKEN": "", "BOT_API_BASE_URL": "https://example.org/bot"}, "BOT_TOKEN is empty"),
        ({"BOT_BACKEND_URL": "localhost:8000"}, "must begin with http"),
    ],
)  # fmt: skip
def test_a_wrong_setting_ends_the_start_with_one_sentence(
    stack: Stack, env: dict[str, str], sentence: str
) -> None:
    bot = stack.bot(**env)
    bot.start()
    until(bot.has_ended, "the bot ends")
    assert sentence in bot.log()
    assert "Traceback" not in bot.log()
    assert bot.stop() == 2
