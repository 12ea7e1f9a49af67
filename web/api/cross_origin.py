"""Let pages of other origins use a service: read its answers and headers, show its images."""

from collections.abc import Collection

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

RESOURCE_POLICY = "cross-origin-resource-policy"
EXPOSED = (
    "Content-Range",
    "ETag",
    "Location",
    "Mcp-Session-Id",
    "Retry-After",
    "X-Easel-Prompt-Cut",
    "X-Generation-ID",
    "X-Request-ID",
    "X-Seed",
)
"""What a page may read of an answer, besides what every page may."""


class CrossOrigin(CORSMiddleware):
    """ASGI middleware around everything, so that errors can be read as well."""

    def __init__(self, app: ASGIApp, *, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            allow_private_network=True,
            expose_headers=EXPOSED,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marking(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if headers.get("content-type", "").startswith("image/"):
                    headers[RESOURCE_POLICY] = "cross-origin"
                # An image that an `<img>` left in the browser's cache would fail a `fetch`.
                if "origin" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Origin")
            await send(message)

        await super().__call__(scope, receive, marking)
