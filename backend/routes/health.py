"""Modes, health, readiness and metrics."""

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from backend.routes.context import UNAUTHORIZED, IsKnown, Owner, Service
from backend.schemas import BackendHealth, RefusalCount
from gpu_server.schemas import ModeInfo
from web import edge

router = APIRouter(tags=["platform"])


@router.get("/modes", summary="What can be drawn, and whether right now", responses=UNAUTHORIZED)
async def modes(service: Service, _: Owner) -> list[ModeInfo]:
    return service.platform.modes()


@router.get("/health", summary="The platform in detail; always 200", responses=UNAUTHORIZED)
async def health(service: Service, _: Owner) -> BackendHealth:
    return service.platform.health()


@router.get(
    "/refusals",
    summary="Refused requests by user and category, for the operator",
    responses=UNAUTHORIZED,
)
async def refusals(service: Service, owner: Owner) -> list[RefusalCount]:
    return await service.refusals.counts(owner)


@router.get("/livez", summary="The process answers")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="A generation could run now", responses={503: {}})
async def readyz(service: Service, response: Response, is_known: IsKnown) -> dict[str, Any]:
    checks = service.platform.checks()
    ready = all(state == "ok" for state in checks.values())
    response.status_code = 200 if ready else 503
    return {"ready": ready, "checks": checks if is_known else edge.without_reasons(checks)}


@router.get("/metrics", response_class=Response, responses=UNAUTHORIZED)
async def metrics(service: Service, _: Owner) -> Response:
    return Response(service.platform.exposition(), media_type=CONTENT_TYPE_LATEST)
