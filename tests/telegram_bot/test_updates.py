"""An update that cannot be read is skipped; everybody else is answered."""

import json
from typing import Any

from telegram_bot.transport import UpdatesTransport
from telegram_bot.updates import is_unreadable, read
from tests.services import free_port
from tests.telegram_bot.conftest import StartBot
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import GROUP, SMALL, Person, Stack, words

SECRET = "a-webhook-secret_42"
HEADERS = {"X-Telegram-Bot-Api-Secret-Token": SECRET}


def poll_update(update_id: int) -> dict[str, Any]:
    """Return a message with a poll that lacks a field which the library requires."""
    poll = {"id": "1", "question": "a secret question", "options": []}
    chat = {"id": 5, "type": "private"}
    message = {"message_id": 1, "date": 1, "chat": chat, "poll": poll}
    return {"update_id": update_id, "message": message}


def test_a_poll_keeps_the_updates_around_one_that_cannot_be_read() -> None:
    chat = {"id": 5, "type": "private"}
    fine = {"update_id": 9, "message": {"message_id": 2, "date": 1, "chat": chat, "text": "hi"}}
    result = [7, {"update_id": "x"}, poll_update(8), fine, poll_update(10)]
    payload = json.dumps({"ok": True, "result": result}).encode()
    served = UpdatesTransport.parse_json_payload(payload)["result"]
    updates = [update for raw in served if (update := read(raw, None))]
    assert [update.update_id for update in updates] == [8, 9, 10]
    assert [is_unreadable(update) for update in updates] == [True, False, True]


def test_by_webhook_an_unreadable_update_is_taken_counted_and_logged_by_its_id_only(
    stack: Stack, other_bot: StartBot
) -> None:
    port = free_port()
    hook = {"BOT_WEBHOOK_URL": f"http://127.0.0.1:{port}/hook", "BOT_WEBHOOK_SECRET": SECRET}
    bot = other_bot(**hook, BOT_WEBHOOK_PORT=str(port))
    for _ in range(2):  # served twice, counted once
        answer = stack.http.post(
            hook["BOT_WEBHOOK_URL"], json=poll_update(778_001), headers=HEADERS
        )
        assert answer.status_code == 200
    person = stack.person("en")
    person.reads("Under a picture", after=person.says("/help"))
    channel = {"id": -100777, "type": "channel", "title": "News"}
    group = {"id": GROUP, "type": "supergroup", "title": "Easel group"}
    as_channel = {"message_id": 1, "date": 1, "chat": group, "sender_chat": channel}
    as_channel["from"] = {"id": 136817688, "is_bot": True, "first_name": "Channel"}
    as_channel["text"] = "/draw a masked ball"
    service = as_channel | {"from": {"id": 777000, "is_bot": False, "first_name": "Telegram"}}
    service |= {"is_automatic_forward": True}
    for update_id, message in ((778_002, service), (778_003, as_channel)):
        update = {"update_id": update_id, "message": message}
        stack.http.post(hook["BOT_WEBHOOK_URL"], json=update, headers=HEADERS)
    alex = stack.person("en", 1001).in_group()
    alex.reads("Write as yourself")
    assert sum("Write as yourself" in words(m) for m in alex.from_bot()) == 1
    own = f"http://127.0.0.1:{bot.env['BOT_METRICS_PORT']}"
    assert stack.http.get(f"{own}/readyz").json()["checks"] == {"telegram": "ok", "database": "ok"}
    metrics = stack.http.get(f"{own}/metrics").text
    assert 'easel_bot_updates_skipped_total{reason="unreadable"} 1.0' in metrics
    assert "778001" in bot.log()
    assert "a secret question" not in bot.log()


def test_what_cannot_be_read_in_the_database_keeps_the_bot_from_nothing_else(
    ann: Person, masha: Person, bot: Service, stack: Stack
) -> None:
    ann.gets_picture(after=ann.says(f"a first owl {SMALL}"))
    masha.sees(words, "the menu", masha.says("/start"))
    bot.kill()
    with stack.bots_database() as database:
        for update_id, body in ((11, "{broken"), (12, json.dumps(poll_update(12))), (13, "[]")):
            database.run("INSERT INTO inbox VALUES (?, ?, 0, 2e9)", update_id, body)
        broken = '{"size": 7, "later": {"a": 1}, "quiet": true}'
        draft = '{"mode": "free", "step": "of a newer version", "chat_id": 1}'
        statement = "UPDATE people SET preferences = ?, draft = ? WHERE user_id = ?"
        database.run(statement, broken, draft, ann.id)
        database.run(statement, "{broken", "{broken", masha.id)
        row = "INSERT INTO deliveries (generation, user_id, chat_id, origin, request, state,"
        row += " created_at) VALUES (?, ?, ?, '1', ?, 'accepted', 1.5)"
        database.run(row, "no-uuid", ann.id, ann.id, "{}")
        lost = "0b3c0d9e-0000-5000-8000-00000000000a"
        database.run(row, lost, ann.id, ann.id, "{broken")
        database.run("INSERT OR REPLACE INTO notes VALUES ('modes', ?)", '[{"name": 3}, 7]')
    last = max(m["message_id"] for m in ann.from_bot())
    stack.restart(bot)
    ann.reads("no longer stored", after=last)
    for person in (ann, masha):
        person.gets_picture(after=person.says(f"a second owl {SMALL}"))
    menu = ann.reads("Settings", after=ann.says("/settings"))
    assert any("Quiet" in b["text"] and "on" in b["text"] for r in menu["buttons"] for b in r)
    with stack.bots_database() as database:
        database.run("DELETE FROM deliveries WHERE generation = 'no-uuid'")
