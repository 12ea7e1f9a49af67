"""The GPU server's routes. No logic: read the request, call the service, shape the answer."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response, Security
from fastapi.security import HTTPAuthorizationCredentials
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import StreamingResponse

from gpu_server import bodies, nvml, schemas
from gpu_server import documentation as docs
from gpu_server.health import PodHealth
from gpu_server.jobs.job import Job
from gpu_server.modes.describing import describe_modes
from gpu_server.pictures.formats import MEDIA_TYPES
from gpu_server.schemas import JobRequest
from gpu_server.service import Service
from web import edge, errors, negotiation, sse, waiting
from web.api.document import KEY, OPTIONAL_KEY, binary, text
from web.client import Photos
from workflows.live import LiveCatalog

JOB_TYPES = ["application/json", "text/event-stream"]
Previews = Annotated[bool, Query(description="send the picture so far too, blurred")]


async def service_of(request: Request) -> Service:
    service: Service = request.app.state.pod.service
    return service


async def health_of(request: Request) -> PodHealth:
    health: PodHealth = request.app.state.pod.health
    return health


Serving = Annotated[Service, Depends(service_of)]
Health = Annotated[PodHealth, Depends(health_of)]
Accept = Annotated[str, Header(include_in_schema=False)]
"""OpenAPI names the media types of an answer instead."""


async def read_request(request: Request, service: Serving) -> tuple[JobRequest, Photos]:
    return await bodies.read(request, JobRequest, service.catalog)


Body = Annotated[tuple[JobRequest, Photos], Depends(read_request)]


def router(token: str, live: LiveCatalog) -> APIRouter:
    """Return all routes; all but the probes need the token, if there is one."""

    async def is_known(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(KEY)] = None,
    ) -> bool:
        sent = credentials.credentials if credentials else ""
        return not token or hmac.compare_digest(sent.encode(), token.encode())

    async def require_token(known: Annotated[bool, Depends(is_known)]) -> None:
        if not known:
            raise errors.Unauthorized("This GPU server needs its token as a bearer token")

    body = bodies.documented(live, JobRequest)
    probes, jobs, pod = APIRouter(), APIRouter(), APIRouter()
    _add_probes(probes, is_known)
    _add_generate(jobs, body)
    _add_jobs(jobs, body)
    _add_following(jobs)
    _add_pod(pod, live)
    routes, closed = APIRouter(), [Depends(require_token)]
    routes.include_router(jobs, tags=["jobs"], dependencies=closed, responses=docs.CLOSED)
    routes.include_router(pod, tags=["pod"], dependencies=closed, responses=docs.CLOSED)
    routes.include_router(probes, tags=["pod"], responses=docs.OPEN)
    return routes


def _add_probes(routes: APIRouter, is_known: Callable[..., Awaitable[bool]]) -> None:
    @routes.get(
        "/livez",
        summary="The process works",
        description="For a supervisor; needs no token.",
        responses={503: {"description": "One of its tasks is broken"}},
    )
    async def livez(health: Health, response: Response) -> dict[str, str]:
        broken = health.background.broken()
        response.status_code = 503 if broken else 200
        return {"status": "broken: " + ", ".join(broken) if broken else "ok"}

    @routes.get(
        "/readyz",
        summary="A job could run now",
        description="Callers without the token are told what is out of order, but not why.",
        responses={503: {"model": schemas.Readiness}},
        openapi_extra=OPTIONAL_KEY,
    )
    async def readyz(
        health: Health, response: Response, known: Annotated[bool, Depends(is_known)]
    ) -> schemas.Readiness:
        response.status_code = 200 if health.ready() else 503
        checks = health.checks()
        shown = checks if known else edge.without_reasons(checks)
        return schemas.Readiness(ready=health.ready(), checks=shown)


def _add_generate(routes: APIRouter, body_schema: dict[str, Any]) -> None:
    @routes.post(
        "/generate",
        summary="Draw and wait; the Accept header decides what the answer is",
        description="Hanging up cancels the job.",
        response_model=schemas.Result,
        responses=docs.REQUEST_ERRORS | docs.OUTCOME_ERRORS | docs.DRAWN,
        openapi_extra=body_schema,
    )
    async def generate(
        body: Body,
        service: Serving,
        request: Request,
        accept: Accept = "",
        previews: Previews = False,
    ) -> Response:
        job_request, photos = body
        kind = waiting.choose(accept, MEDIA_TYPES)
        if kind in MEDIA_TYPES:
            job_request = job_request.model_copy(update={"format": MEDIA_TYPES[kind]})
        job = await service.submit(uuid4(), job_request, photos, is_kept=False)

        async def respond() -> Response:
            await service.finished(job)
            if kind in MEDIA_TYPES:
                return _image_response(await service.runner.image(job, 0), kind, job)
            result = await service.result(job)
            return Response(result.model_dump_json(), media_type="application/json")

        async def release(_: bool) -> None:
            service.runner.drop(job)

        return await waiting.answer(
            request,
            kind,
            events=lambda: service.events(job, previews=previews, with_images=True),
            response=respond,
            release=release,
        )


def _add_jobs(routes: APIRouter, body_schema: dict[str, Any]) -> None:
    @routes.put(
        "/jobs/{job_id}",
        summary="Take a job on; may be repeated without harm",
        description="As JSON its state, as `text/event-stream` everything up to its end.",
        status_code=202,
        response_model=schemas.Job,
        responses=docs.REQUEST_ERRORS | {202: {"content": docs.EVENTS}},
        openapi_extra=body_schema,
    )
    async def put_job(
        job_id: UUID,
        body: Body,
        service: Serving,
        accept: Accept = "",
        previews: Previews = False,
    ) -> Response:
        job = await service.submit(job_id, *body)
        if negotiation.best(accept, JOB_TYPES) == "text/event-stream":
            return sse.response(service.events(job, previews=previews), 202)
        return Response(service.view(job).model_dump_json(), 202, media_type="application/json")

    @routes.get(
        "/jobs/{job_id}",
        summary="Look at a job",
        description="Its state, and its images once it has succeeded.",
        responses=docs.NOT_FOUND,
    )
    async def get_job(job_id: UUID, service: Serving) -> schemas.Job:
        return service.view(service.runner.get(job_id))

    @routes.get(
        "/jobs/{job_id}/images/{number}",
        summary="Fetch an image",
        description="In the format it was drawn in.",
        response_class=Response,
        responses=docs.NOT_FOUND | {200: {"content": binary(MEDIA_TYPES)}},
    )
    async def get_image(
        job_id: UUID,
        number: Annotated[int, Path(ge=0, le=99, description="which of its images, from 0")],
        service: Serving,
    ) -> Response:
        job = service.runner.get(job_id)
        data = await service.runner.image(job, number)
        return _image_response(data, job.image_infos[number].media_type, job)

    @routes.delete(
        "/jobs",
        summary="Forget jobs that have ended",
        description="Of the ids named; those that run or are unknown are skipped.",
        status_code=204,
    )
    async def forget_jobs(
        job_ids: Annotated[
            list[UUID],
            Query(alias="id", max_length=schemas.FORGOTTEN_AT_ONCE, description="once for each"),
        ],
        service: Serving,
    ) -> None:
        await service.runner.forget_ended(job_ids)

    @routes.delete(
        "/jobs/{job_id}",
        summary="Cancel a job, or forget one that has ended",
        description="Waits until ComfyUI has stopped, and says what happened.",
        responses=docs.NOT_FOUND,
    )
    async def delete_job(job_id: UUID, service: Serving) -> schemas.Ended:
        return await service.end(service.runner.get(job_id))


def _add_following(routes: APIRouter) -> None:
    @routes.get(
        "/jobs/{job_id}/events",
        summary="Follow a job: server-sent events",
        description=sse.DESCRIPTION,
        response_class=StreamingResponse,
        responses=docs.NOT_FOUND | docs.STREAM,
    )
    async def follow_job(
        job_id: UUID,
        service: Serving,
        previews: Previews = False,
        last_event_id: Annotated[
            str | None, Header(description="the id of the last event received")
        ] = None,
    ) -> Response:
        has_everything = last_event_id == sse.END
        try:
            job = service.runner.get(job_id)
        except errors.NotFound:
            if has_everything:
                return sse.nothing_more()
            raise
        if has_everything and job.is_over:
            return sse.nothing_more()
        after = sse.last_event_id(last_event_id)
        after = after if after <= job.version else -1
        return sse.response(service.events(job, after=after, previews=previews))


def _add_pod(routes: APIRouter, live: LiveCatalog) -> None:
    @routes.get(
        "/modes",
        summary="What can be drawn, and whether right now",
        description="Modes with their parameters as JSON Schema, their styles and their texts.",
    )
    async def list_modes(health: Health) -> list[schemas.ModeInfo]:
        return describe_modes(live.current, health.report().styles)

    @routes.get(
        "/health",
        summary="The pod in detail; always 200",
        description="Its engine, GPU and models, and what is out of order.",
    )
    async def get_health(health: Health) -> schemas.Health:
        return health.report(await asyncio.to_thread(nvml.read))

    @routes.post(
        "/free",
        summary="Release GPU memory",
        description="ComfyUI does it when it is idle.",
        status_code=202,
    )
    async def free_memory(
        health: Health,
        unload_models: Annotated[bool, Query(description="also drop the loaded models")] = True,
    ) -> dict[str, str]:
        await health.execution.free(unload_models=unload_models)
        return {"detail": "ComfyUI frees memory as soon as it is idle"}

    @routes.get(
        "/metrics",
        summary="Figures for Prometheus",
        description="Names begin with `easel_`.",
        response_class=Response,
        responses={200: {"content": text("text/plain")}},
    )
    async def get_metrics(health: Health) -> Response:
        text = health.metrics(await asyncio.to_thread(nvml.read))
        return Response(text, media_type=CONTENT_TYPE_LATEST)


def _image_response(data: bytes, media_type: str, job: Job) -> Response:
    headers = {
        "X-Generation-ID": str(job.id),
        "X-Seed": str(job.request.seed),
        "Cache-Control": "private, no-store",
    }
    return Response(data, media_type=media_type, headers=headers)
