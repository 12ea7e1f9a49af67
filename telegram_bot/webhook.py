"""Receives updates by webhook: the secret is checked in constant time before the body is parsed."""

import hmac
import json
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from telegram import Bot, Update
from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

from telegram_bot.context import EaselApplication
from telegram_bot.settings import Settings

ALLOWED_UPDATES = ("message", "callback_query", "my_chat_member")
_HEADER = "X-Telegram-Bot-Api-Secret-Token"
_MOST_BYTES = 1024 * 1024
_CONNECTIONS = 40
_log = structlog.get_logger("telegram_bot.webhook")


class UpdateHandler(RequestHandler):
    """Takes one update; 200 only once it is written down, so that Telegram may forget it."""

    def initialize(self, easel: EaselApplication, secret: str) -> None:
        self._easel = easel
        self._secret = secret.encode()

    def prepare(self) -> None:
        given = self.request.headers.get(_HEADER, "").encode()
        if not hmac.compare_digest(given, self._secret):
            raise HTTPError(HTTPStatus.FORBIDDEN)

    async def post(self) -> None:
        try:
            update = Update.de_json(json.loads(self.request.body), self._easel.bot)
        except (ValueError, KeyError, TypeError) as error:
            raise HTTPError(HTTPStatus.BAD_REQUEST) from error
        await self._easel.update_queue.put(update)

    def log_exception(self, *_: object) -> None:
        """A refusal is no event: anybody can make one."""


def listen(application: EaselApplication, settings: Settings) -> HTTPServer:
    """Listens; the server is to be stopped by the caller."""
    secret = settings.bot_webhook_secret.get_secret_value()
    path = urlsplit(settings.bot_webhook_url).path or "/"
    parts = {"easel": application, "secret": secret}
    server = HTTPServer(
        Application([(path, UpdateHandler, parts)], log_function=lambda _: None),
        max_body_size=_MOST_BYTES,
    )
    server.listen(settings.bot_webhook_port, settings.bot_webhook_host)
    _log.info("webhook_listening", host=settings.bot_webhook_host, port=settings.bot_webhook_port)
    return server


async def announce(bot: Bot, settings: Settings) -> None:
    """Tells Telegram where the webhook is; raises TelegramError."""
    await bot.set_webhook(
        settings.bot_webhook_url,
        allowed_updates=ALLOWED_UPDATES,
        secret_token=settings.bot_webhook_secret.get_secret_value(),
        max_connections=_CONNECTIONS,
    )
