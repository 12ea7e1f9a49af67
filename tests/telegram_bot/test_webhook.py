"""Updates that come by webhook."""

from tests.services import free_port
from tests.telegram_bot.conftest import StartBot
from tests.telegram_bot.stack import SMALL, Stack, is_finished, words

SECRET = "a-webhook-secret_42"


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
