"""Keep other websites out, and the page from loading anything foreign."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telegram_bot.local.settings import LOOPBACK

_MAX_BODY_BYTES = 150 * 1024 * 1024
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True)
class Guard:
    """ASGI middleware: loopback hosts only, no foreign origin, no huge body, strict headers."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = _refusal(Headers(scope=scope))
        if refusal is not None:
            status, text = refusal
            await PlainTextResponse(text, status)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)


def _address(url: str) -> tuple[str | None, int | None]:
    """Split off host name and port, each None where missing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None, None
    return parts.hostname, port


def _refusal(headers: Headers) -> tuple[int, str] | None:
    host = _address(f"//{headers.get('host', '')}")
    if host[0] not in LOOPBACK:
        return 403, "This server answers to loopback names only: open it as http://127.0.0.1.\n"
    origin = headers.get("origin")
    foreign = origin is not None and _address(origin) != host
    cross_site = headers.get("sec-fetch-site") == "cross-site"
    if foreign or (cross_site and headers.get("sec-fetch-mode") != "navigate"):
        return 403, "Requests from other websites are refused.\n"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > _MAX_BODY_BYTES:
        return 413, f"A request body may have at most {_MAX_BODY_BYTES} bytes.\n"
    return None
