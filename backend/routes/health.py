"""Modes, health, readiness and metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from backend.routes.context import CLOSED, NOT_READY, OPEN, IsKnown, Owner, Service
from backend.schemas import BackendHealth, RefusalCount
from gpu_server.schemas import ModeInfo, Readiness
from web import edge
from web.api.document import OPTIONAL_KEY, text

router = APIRouter(tags=["platform"])


@router.get(
    "/modes",
    summary="What can be drawn, and whether right now",
    description="Modes with their parameters as JSON Schema, their styles and their texts.",
    responses=CLOSED,
)
async def list_modes(service: Service, _: Owner) -> list[ModeInfo]:
    return service.platform.modes()


@router.get(
    "/health",
    summary="The platform in detail; always 200",
    description="Pods, queue, and what is out of order.",
    responses=CLOSED,
)
async def get_health(service: Service, _: Owner) -> BackendHealth:
    return service.platform.health()


@router.get(
    "/refusals",
    summary="Refused requests by user and category, for the operator",
    description="What the safety policy refused in the last 30 days; no prompts.",
    responses=CLOSED,
)
async def list_refusals(service: Service, owner: Owner) -> list[RefusalCount]:
    return await service.refusals.counts(owner)


@router.get(
    "/livez",
    summary="The process answers",
    description="For a supervisor; needs no key.",
    responses=OPEN,
)
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="A generation could run now",
    description="Callers without a key are told what is out of order, but not why.",
    responses=OPEN | NOT_READY,
    openapi_extra=OPTIONAL_KEY,
)
async def readyz(service: Service, response: Response, is_known: IsKnown) -> Readiness:
    checks = service.platform.checks()
    ready = all(state == "ok" for state in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks if is_known else edge.without_reasons(checks))


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    description="Names begin with `easel_`.",
    response_class=Response,
    responses=CLOSED | {200: {"content": text("text/plain")}},
)
async def get_metrics(service: Service, _: Owner) -> Response:
    return Response(service.platform.exposition(), media_type=CONTENT_TYPE_LATEST)
