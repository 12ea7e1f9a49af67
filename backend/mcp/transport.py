"""One request to `/mcp`, served by the SDK; imported at the first one."""

from typing import Any
from uuid import uuid4

from mcp.server.context import ServerRequestContext
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import CallToolRequestParams, CallToolResult
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from backend.mcp import answers
from backend.mcp.calls import SESSION_HEADER, Calls
from backend.mcp.here import Here
from backend.mcp.server import Handlers, create_server
from gpu_server import bodies
from web import errors

_TOOL_CALL = b"tools/call"
"""What is answered with events, for its progress; they are too small for a picture to be read."""


class _CancellableCalls(Handlers):
    """Calls that a notification in a request of its own can cancel."""

    def __init__(self, here: Here, calls: Calls, headers: Headers) -> None:
        super().__init__(here)
        self._owner, self._calls, self._headers = here.owner, calls, headers

    async def call_tool(
        self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> CallToolResult:
        with self._calls.running(self._owner, self._headers, context.request_id or ""):
            return await super().call_tool(context, params)
        return answers.failed(errors.Cancelled())


async def serve(
    here: Here, calls: Calls, body: bytes, scope: Scope, receive: Receive, send: Send
) -> None:
    headers = Headers(scope=scope)
    server = create_server(_CancellableCalls(here, calls, headers))
    manager = StreamableHTTPSessionManager(
        server,
        stateless=True,
        json_response=_TOOL_CALL not in body,
        max_request_body_size=bodies.MAX_BODY,
    )
    is_first = SESSION_HEADER not in headers and "mcp-protocol-version" not in headers
    unread: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def read() -> Message:
        return unread.pop() if unread else await receive()

    async def write(message: Message) -> None:
        if is_first and message["type"] == "http.response.start":
            MutableHeaders(scope=message)[SESSION_HEADER] = uuid4().hex
        await send(message)

    async with manager.run():
        await manager.handle_request(scope, read, write)
