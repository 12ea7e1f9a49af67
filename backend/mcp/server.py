"""The MCP server on top of a studio: what each tool does, and how it answers."""

import base64
import re
from typing import Any
from uuid import UUID

import structlog
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    BlobResourceContents,
    CallToolRequestParams,
    CallToolResult,
    ListResourcesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
)

from backend.mcp import answers, tools
from backend.mcp.drawing import Drawing
from backend.mcp.studio import Studio
from web import VERSION, edge, errors
from web.errors import EaselError, FieldError
from workflows.parameters import InvalidValues

log = structlog.get_logger()

Context = ServerRequestContext[Any, Any]

_INSTRUCTIONS = (
    "Draws pictures on the user's own GPU. Say what the picture shows, in any language; style and "
    "size are parameters. To change a picture that was drawn here, give its generation's id as "
    "the photo."
)
_ADDRESS = re.compile(
    r".*/(?:generations|v1/files)/([0-9a-f-]{36})/(?:images/)?([0-9]{1,2})(?:/.*)?"
)
"""The address of an image, with or without a signature."""


def create_server(handlers: "Handlers") -> Server[Any]:
    return Server(
        "easel",
        version=VERSION,
        title="Easel",
        instructions=_INSTRUCTIONS,
        get_tool_input_schema=lambda _: None,  # no parameter travels in a header
        on_list_tools=handlers.list_tools,
        on_call_tool=handlers.call_tool,
        on_list_resources=handlers.list_resources,
        on_read_resource=handlers.read_resource,
    )


class Handlers:
    """What the server does with each request."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    async def list_tools(self, _: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        try:
            modes = await self._studio.modes()
        except EaselError as error:
            raise MCPError(INTERNAL_ERROR, answers.sentence(error)) from error
        return ListToolsResult(tools=tools.describe(modes, self._studio.photo_forms))

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        given = {k: v for k, v in (params.arguments or {}).items() if v is not None}
        try:
            return await self._call(context, params.name, given)
        except (EaselError, InvalidValues) as error:
            return self._refused(edge.as_easel_error(error))
        except Exception as error:  # the outermost edge of a call
            log.exception("mcp_call_failed", tool=params.name[:60], error=type(error).__name__)
            return self._refused(errors.Internal())

    def _refused(self, error: EaselError) -> CallToolResult:
        self._studio.refused(error)
        return answers.failed(error)

    async def _call(self, context: Context, tool: str, given: dict[str, Any]) -> CallToolResult:
        studio = self._studio
        match tool:
            case "list_modes":
                _require_known(given, [])
                return answers.structured(tools.modes_shown(await studio.modes()))
            case tools.DRAW | tools.EDIT:
                drawing = Drawing(studio, tool, context.session.report_progress)
                return await answers.drawn(studio, await drawing.run(given))
            case "generation_status":
                return await answers.status(studio, await studio.get(_id(given)))
            case "cancel_generation":
                return answers.structured(await self._cancel(_id(given)))
        raise errors.NotFound(f"There is no tool '{tool[:60]}'; tools/list names them")

    async def _cancel(self, generation_id: UUID) -> tools.Cancelled:
        now = await self._studio.get(generation_id)
        if now.status.ended:  # ending it once more would delete its pictures
            return tools.Cancelled(
                id=str(now.id),
                status=now.status,
                outcome="already_ended",
                detail="It had ended before; its pictures are kept",
            )
        ended = await self._studio.end(generation_id)
        return tools.Cancelled.model_validate(ended.model_dump() | {"id": str(ended.id)})

    async def list_resources(
        self, _: Context, __: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        """List none: pictures are linked to by the calls that drew them."""
        return ListResourcesResult(resources=[])

    async def read_resource(
        self, _: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        """Return a picture that a tool linked to, for clients which have no other way to it."""
        named = _ADDRESS.fullmatch(params.uri)
        try:
            if named is None:
                raise errors.NotFound("This is not the address of a picture that was drawn here")
            generation, number = UUID(named[1]), int(named[2])
            data = await self._studio.image(generation, number)
            kind = (await self._studio.get(generation)).images[number].media_type
        except (EaselError, ValueError) as error:
            raise MCPError(INVALID_PARAMS, answers.sentence(edge.as_easel_error(error))) from error
        blob = base64.b64encode(data).decode()
        content = BlobResourceContents(uri=params.uri, mime_type=kind, blob=blob)
        return ReadResourceResult(contents=[content])


def _id(given: dict[str, Any]) -> UUID:
    _require_known(given, ["id"])
    try:
        return UUID(given["id"])
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        message = "must be the id of a generation" if "id" in given else "is required"
        fault = FieldError(field="id", message=message, allowed="a UUID, as `draw` answers with")
        raise errors.InvalidRequest.of([fault]) from error


def _require_known(given: dict[str, Any], names: list[str]) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        allowed: str | list[str] = names or "no parameters"
        raise errors.InvalidRequest.of(
            [FieldError(field=n[:60], message="is not known", allowed=allowed) for n in unknown]
        )
