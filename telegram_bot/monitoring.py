"""The bot's own port on loopback: `/livez`, `/readyz` and `/metrics`."""

import structlog
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from tornado.httpserver import HTTPServer
from tornado.web import Application, HTTPError, RequestHandler

from telegram_bot.metrics import Metrics
from web.same_origin import is_loopback

_ADDRESS = "127.0.0.1"
log = structlog.get_logger("telegram_bot.monitoring")


class _Handler(RequestHandler):
    def initialize(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def prepare(self) -> None:
        # A website can point its own name at this address, but cannot choose the Host header.
        if not is_loopback(self.request.host_name.strip("[]")):
            raise HTTPError(421)

    def log_exception(self, *_: object) -> None:
        """Log nothing: anybody could fill the log with refused requests."""


class _Live(_Handler):
    async def get(self) -> None:
        self.write({"status": "ok"})


class _Ready(_Handler):
    async def get(self) -> None:
        checks = self._metrics.checks()
        ready = all(state == "ok" for state in checks.values())
        self.set_status(200 if ready else 503)
        self.write({"ready": ready, "checks": checks})


class _Exposition(_Handler):
    async def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE_LATEST)
        self.write(generate_latest(self._metrics.registry))


def listen(metrics: Metrics, port: int) -> HTTPServer | None:
    """Start to listen; the caller stops the server. A taken port is logged: people come first."""
    routes = [("/livez", _Live), ("/readyz", _Ready), ("/metrics", _Exposition)]
    parts = {"metrics": metrics}
    application = Application(
        [(path, handler, parts) for path, handler in routes], log_function=lambda _: None
    )
    server = HTTPServer(application)
    try:
        server.listen(port, _ADDRESS)
    except OSError as error:
        hint = "BOT_METRICS_PORT chooses another port"
        log.warning("metrics_unavailable", port=port, reason=error.strerror, hint=hint)
        return None
    return server
