"""A small service with Easel's edge, and routes that go wrong in every way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, FastAPI, Query, Request
from pydantic import BaseModel
from starlette.responses import StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from web import edge, errors, sse
from web.middleware import ClientGone

MAX_BODY = 10_000


class Order(BaseModel):
    name: str
    number: int


class Left(BaseModel):
    """How often somebody began to wait, and how often that was cancelled."""

    waits: int = 0
    cancelled: int = 0


class Closed:
    """A middleware that refuses what begins with /closed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/closed"):
            raise errors.NoGpu("Closed", retry_after=3)
        await self.app(scope, receive, send)


def make_app(left: Left) -> FastAPI:
    app = FastAPI()
    app.add_middleware(Closed)
    edge.install(app, max_body=MAX_BODY)
    app.include_router(readers())
    app.include_router(breakers())
    app.include_router(waiters(left))
    return app


def readers() -> APIRouter:
    routes = APIRouter()

    @routes.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    @routes.post("/order")
    async def order(order: Order) -> str:
        return order.name

    @routes.post("/form")
    async def form(request: Request) -> list[str]:
        async with request.form() as parts:
            return list(parts)

    @routes.get("/items/{item}")
    async def item(item: UUID, page: Annotated[int, Query(ge=1)] = 1) -> str:
        return f"{item} {page}"

    @routes.get("/ids")
    async def ids() -> dict[str, str]:
        return edge.trace_headers()

    return routes


def breakers() -> APIRouter:
    routes = APIRouter()

    @routes.get("/broken")
    async def broken() -> None:
        raise RuntimeError("a secret path /home/owner/x.py")

    @routes.get("/breaks-off")
    async def breaks_off() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"the beginning"
            raise RuntimeError("in the middle")

        return StreamingResponse(body())

    @routes.get("/busy")
    async def busy() -> None:
        raise errors.QueueFull("The queue is full", retry_after=4.6)

    return routes


def waiters(left: Left) -> APIRouter:
    routes = APIRouter()

    @routes.post("/wait")
    async def wait(request: Request) -> None:
        await request.body()
        left.waits += 1
        try:
            await edge.unless_disconnected(request, asyncio.Event().wait())
        except ClientGone:
            left.cancelled += 1
            raise

    @routes.get("/events")
    async def events() -> StreamingResponse:
        async def numbers() -> AsyncIterator[sse.Event]:
            for number in range(3):
                yield sse.Event("order", Order(name="ä\nö", number=number), number)

        return sse.response(numbers())

    return routes
