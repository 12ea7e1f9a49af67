"""Build the local Telegram as one ASGI application."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from telegram_bot.local.bot_api.receiving import deliver_forever
from telegram_bot.local.bot_api.server import BotApi
from telegram_bot.local.chat.hooks import Hooks
from telegram_bot.local.chat.routes import ChatApi
from telegram_bot.local.errors import ApiError
from telegram_bot.local.guard import Guard
from telegram_bot.local.settings import LocalTelegramSettings
from telegram_bot.local.state.world import World

_PAGE = Path(__file__).parent / "page"


def create_app(settings: LocalTelegramSettings) -> FastAPI:
    """Create a fresh local Telegram; `app.state.world` is its state."""
    world = World(
        max_file_bytes=settings.local_telegram_files_mb * 1024 * 1024,
        query_lifetime_s=settings.local_telegram_query_lifetime_s,
        flood_limits=settings.local_telegram_flood_limits,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Webhooks are on this machine only, where certificates are self-signed.
        unverified = httpx.AsyncClient(trust_env=False, verify=False)  # noqa: S501
        async with unverified as client, asyncio.TaskGroup() as tasks:
            delivery = tasks.create_task(deliver_forever(world, client))
            yield
            delivery.cancel()

    app = FastAPI(title="Easel's local Telegram", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.world = world
    app.add_middleware(Guard)
    app.exception_handler(ApiError)(_on_api_error)
    app.exception_handler(RequestValidationError)(_on_invalid_request)
    app.include_router(ChatApi(world, Hooks(settings.local_telegram_hooks)).router())
    app.router.routes.extend(BotApi(world).routes())
    app.add_api_route("/", _index, include_in_schema=False)
    app.mount("/page", StaticFiles(directory=_PAGE), name="page")
    return app


async def _index() -> FileResponse:
    return FileResponse(_PAGE / "index.html", headers={"Cache-Control": "no-cache"})


def _on_invalid_request(_: Request, error: RequestValidationError) -> Response:
    """Name every wrong field, but not its value, which may not even be Unicode."""
    reasons = [f"{'.'.join(map(str, e['loc'][1:])) or 'body'}: {e['msg']}" for e in error.errors()]
    return JSONResponse({"detail": "; ".join(reasons)}, 422)


def _on_api_error(_: Request, error: ApiError) -> Response:
    return JSONResponse({"detail": error.description}, error.status)
