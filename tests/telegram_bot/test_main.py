"""How the bot starts and ends, and what never gets into its log."""

import pytest

from tests.services import free_port, until
from tests.telegram_bot.conftest import StartBot
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, TOKEN, Person, Stack

SECRET = "a-webhook-secret_42"


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


def test_a_bot_whose_token_is_revoked_ends_and_says_so(bot: Service, stack: Stack) -> None:
    """A bot that gets no updates would otherwise look as if it were at work."""
    stack.fault("401", "getUpdates", count=1)
    until(bot.has_ended, "the bot ends")
    assert "BOT_TOKEN is not accepted by Telegram" in bot.log()
    assert bot.stop() == 2


def test_the_token_is_in_no_log(ann: Person, bot: Service, stack: Stack) -> None:
    ann.gets_picture(after=ann.says(f"a quiet lake {SMALL}"))
    assert bot.log()
    assert TOKEN not in bot.log()
    assert TOKEN.split(":")[1] not in bot.log()
    assert "a quiet lake" not in bot.log()
