"""Modes, health, readiness and metrics."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from backend.routes.context import UNAUTHORIZED, Health, Owner, Service
from backend.schemas import BackendHealth, RefusalCount
from gpu_server.schemas import ModeInfo


def router() -> APIRouter:
    routes = APIRouter(tags=["platform"])
    routes.get(
        "/modes", summary="What can be drawn, and whether right now", responses=UNAUTHORIZED
    )(modes)
    routes.get("/health", summary="The platform in detail; always 200", responses=UNAUTHORIZED)(
        health
    )
    routes.get(
        "/refusals",
        summary="Refused requests by user and category, for the operator",
        responses=UNAUTHORIZED,
    )(refusals)
    routes.get("/livez", summary="The process answers")(livez)
    routes.get("/readyz", summary="A generation could run now", responses={503: {}})(readyz)
    routes.get("/metrics", response_class=Response, responses=UNAUTHORIZED)(metrics)
    return routes


async def modes(platform: Health, _: Owner) -> list[ModeInfo]:
    return platform.modes()


async def health(platform: Health, _: Owner) -> BackendHealth:
    return platform.health()


async def refusals(service: Service, owner: Owner) -> list[RefusalCount]:
    return await service.refusals(owner)


async def livez() -> dict[str, str]:
    return {"status": "ok"}


async def readyz(platform: Health, response: Response) -> dict[str, Any]:
    checks = platform.checks()
    ready = all(state == "ok" for state in checks.values())
    response.status_code = 200 if ready else 503
    return {"ready": ready, "checks": checks}


async def metrics(platform: Health, _: Owner) -> Response:
    return Response(platform.exposition(), media_type=CONTENT_TYPE_LATEST)
