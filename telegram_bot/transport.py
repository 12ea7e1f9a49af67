"""Requests to Telegram: every failure is counted, and no body is ever logged."""

import json
from typing import Any

from telegram.error import TelegramError, TimedOut
from telegram.request import HTTPXRequest

from telegram_bot.metrics import Metrics
from telegram_bot.updates import readable

GET_UPDATES = "getUpdates"


class Transport(HTTPXRequest):
    def __init__(self, metrics: Metrics, **options: Any) -> None:
        super().__init__(**options)
        self._metrics = metrics

    async def do_request(self, url: str, *args: Any, **options: Any) -> tuple[int, bytes]:
        """Make a request, and count it if it fails."""
        method = "download" if "/file/" in url else url.rpartition("/")[2]
        try:
            status, payload = await super().do_request(url, *args, **options)
        except TelegramError as error:
            self._metrics.failed(method, "timeout" if isinstance(error, TimedOut) else "network")
            raise
        if status >= 400:
            self._metrics.failed(method, str(status))
        elif method == GET_UPDATES:
            self._metrics.contact.made()
        return status, payload

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Parse an answer of the Bot API; raises TelegramError."""
        try:
            answer = json.loads(payload.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise TelegramError("Telegram's answer is no JSON") from None
        if not isinstance(answer, dict):
            raise TelegramError("Telegram's answer is no JSON object")
        return answer


class UpdatesTransport(Transport):
    """The requests for updates, which may contain some that cannot be read."""

    @staticmethod
    def parse_json_payload(payload: bytes) -> dict[str, Any]:
        """Parse the answer; of an update that cannot be read only the id is left."""
        answer = Transport.parse_json_payload(payload)
        if isinstance(result := answer.get("result"), list):
            answer["result"] = [known for raw in result if (known := readable(raw))]
        return answer
