"""Receive updates by webhook: check the secret in constant time before keeping a body."""

import asyncio
import hmac
import time
from http import HTTPStatus
from urllib.parse import urlsplit

import structlog
from telegram import Bot
from telegram.error import InvalidToken, TelegramError
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from telegram_bot.context import EaselApplication
from telegram_bot.metrics import Contact
from telegram_bot.settings import Settings
from telegram_bot.storage.inbox import NotStored
from telegram_bot.storage.lenient import parsed
from telegram_bot.updates import read
from web.server import MAX_HEAD, SILENCE_S

ALLOWED_UPDATES = ("message", "callback_query", "my_chat_member")
_HEADER = "X-Telegram-Bot-Api-Secret-Token"
_MAX_BODY_BYTES = 1024 * 1024
_MAX_CONNECTIONS = 40
_MAX_STRANGERS = 200
"""Connections to the port at most; Telegram opens a fifth of them."""
_WATCH_INTERVAL_S = 30.0
log = structlog.get_logger("telegram_bot.webhook")


@stream_request_body
class UpdateHandler(RequestHandler):
    """Takes one update; answers 200 only once it is stored, since Telegram then forgets it."""

    def initialize(self, bot_application: EaselApplication, secret: str) -> None:
        self._bot_application = bot_application
        self._secret = secret.encode()

    def prepare(self) -> None:
        secret = self.request.headers.get(_HEADER, "").encode()
        self._is_telegram = hmac.compare_digest(secret, self._secret)
        self._body = b""

    def data_received(self, chunk: bytes) -> None:
        """Keep Telegram's body; others are read to their end, so that they see the refusal."""
        if self._is_telegram:
            self._body += chunk

    async def post(self) -> None:
        if not self._is_telegram:
            raise HTTPError(HTTPStatus.FORBIDDEN)
        update = read(parsed(self._body.decode(errors="replace")), self._bot_application.bot)
        if update is None:
            raise HTTPError(HTTPStatus.BAD_REQUEST)
        try:
            await self._bot_application.update_queue.put(update)
        except NotStored as error:  # Telegram comes again
            raise HTTPError(HTTPStatus.SERVICE_UNAVAILABLE) from error

    def log_exception(self, *_: object) -> None:
        """Log nothing: anybody could fill the log with refused requests."""


class Server(HTTPServer):
    """Takes a bounded number of connections: Telegram tries again what was refused."""

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        if len(self._connections) >= _MAX_STRANGERS:
            stream.close()
        else:
            super().handle_stream(stream, address)


def listen(application: EaselApplication, settings: Settings) -> HTTPServer:
    """Start to listen; the caller stops the server."""
    secret = settings.bot_webhook_secret.get_secret_value()
    path = urlsplit(settings.bot_webhook_url).path or "/"
    parts = {"bot_application": application, "secret": secret}
    server = Server(
        Application([(path, UpdateHandler, parts)], log_function=lambda _: None),
        max_body_size=_MAX_BODY_BYTES,
        max_header_size=MAX_HEAD,
        idle_connection_timeout=SILENCE_S,
        body_timeout=SILENCE_S,
    )
    server.listen(settings.bot_webhook_port, settings.bot_webhook_host)
    log.info("webhook_listening", host=settings.bot_webhook_host, port=settings.bot_webhook_port)
    return server


async def announce(bot: Bot, settings: Settings) -> None:
    """Tell Telegram where the webhook is; raises TelegramError."""
    await bot.set_webhook(
        settings.bot_webhook_url,
        allowed_updates=ALLOWED_UPDATES,
        secret_token=settings.bot_webhook_secret.get_secret_value(),
        max_connections=_MAX_CONNECTIONS,
    )


async def watch(bot: Bot, settings: Settings, contact: Contact) -> None:
    """Ask Telegram whether it can deliver, and announce the webhook again if it was replaced.

    Raises InvalidToken when the token is revoked.
    """
    while True:
        since = time.time()
        await asyncio.sleep(0 if not contact.made_at else _WATCH_INTERVAL_S)
        try:
            info = await bot.get_webhook_info()
            if info.url != settings.bot_webhook_url:
                log.warning("webhook_replaced", hint="another process uses this token")
                contact.failed("another process replaced the webhook")
                await announce(bot, settings)
            elif info.last_error_date and info.last_error_date.timestamp() > since:
                contact.failed(f"it cannot deliver: {info.last_error_message}")
            else:
                contact.made()
        except InvalidToken:
            raise
        except TelegramError as error:
            contact.failed(type(error).__name__)
            log.warning("webhook_not_checked", reason=type(error).__name__)
