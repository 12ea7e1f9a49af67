"""Build the backend's application; what runs behind its routes is wired in `lifespan`."""

import contextlib
from collections.abc import AsyncIterator

import structlog
from fastapi import FastAPI, Request, Response
from fastapi_offline import FastAPIOffline

from backend.lifespan import Resources, running
from backend.limits.keys import Keys
from backend.limits.people import People
from backend.mcp import routes as mcp_routes
from backend.metrics import Metrics
from backend.openai import failures, routes
from backend.openai.models import Models
from backend.replication.leadership import Leadership
from backend.replication.relay import Relay
from backend.routes import documentation, generations, health
from backend.settings import Settings
from backend.state import State
from backend.storage.storage import prepare
from gpu_server import bodies
from gpu_server.pictures.provenance import Signer
from policy import Policy
from web import VERSION, edge
from web.api import document, front_page
from web.api.cross_origin import CrossOrigin
from web.errors import EaselError
from web.same_origin import SameOrigin

log = structlog.get_logger()


def create_app(settings: Settings) -> FastAPI:
    """Return the application; it schedules during its lifespan, or while it leads.

    Raises UnknownAlias if a setting names a model that does not exist, ProvenanceError if images
    could not be signed, DatabaseRefused if the database is damaged, of a newer release or cannot be
    opened.
    """
    last_written = prepare(settings.database_url, settings.images_url)
    certificate, key = settings.backend_signing_certificate, settings.backend_signing_key
    resources = Resources(
        settings=settings,
        last_written=last_written,
        live=settings.live_catalog(),
        policy=Policy.load(),
        signer=Signer.load(settings.easel_data_dir, certificate, key),
        metrics=Metrics(VERSION),
    )
    leadership = None
    if settings.is_shared:
        leadership = Leadership(settings.backend_database_url.get_secret_value(), settings.own_url)
    Models(resources.live.current, settings.backend_model_aliases).check_aliases()
    state = State(
        keys=Keys(settings.backend_api_keys),
        people=_people(settings),
        leadership=leadership,
        model_aliases=settings.backend_model_aliases,
        answers_chats=settings.backend_chat_completions,
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with running(resources, state):
            yield

    app = FastAPIOffline(
        title="Easel",
        version=VERSION,
        description="Draws pictures on your own GPU, for people in Telegram and for programs.",
        lifespan=lifespan,
        **document.options(documentation.TAGS, settings.backend_public_url),
    )
    front_page.add(app, documentation.ADDRESSES)
    state.install(app)
    _add_middleware(app, resources, leadership)
    app.include_router(generations.router(resources.live))
    app.include_router(routes.router)
    app.include_router(mcp_routes.router())
    app.include_router(health.router)
    resources.live.follow(lambda _: document.renew(app))
    return app


def _people(settings: Settings) -> People:
    if settings.backend_user_header and not settings.backend_api_keys:
        log.warning("user_header_unused", reason="BACKEND_USER_HEADER needs BACKEND_API_KEYS")
        return People()
    return People(settings.backend_user_header)


def _add_middleware(app: FastAPI, resources: Resources, leadership: Leadership | None) -> None:
    """Add the layers around the routes, the innermost first."""
    settings = resources.settings
    if leadership is not None:
        app.add_middleware(Relay, leadership=leadership, keys=Keys(settings.backend_api_keys))
    edge.install(
        app,
        max_body=bodies.MAX_BODY,
        needs_key=bool(settings.backend_api_keys),
        same_origin=_same_origin(settings),
        render=render_error,
        on_error=resources.metrics.answered_with,
        verbatim="/users/",
    )
    if settings.backend_cors_origins:
        app.add_middleware(CrossOrigin, origins=settings.backend_cors_origins)


def _same_origin(settings: Settings) -> SameOrigin:
    return SameOrigin.of(
        [settings.backend_public_url, settings.backend_advertise_url],
        settings.backend_cors_origins,
        advice="set BACKEND_API_KEYS, or name the address in BACKEND_PUBLIC_URL, "
        "the page's origin in BACKEND_CORS_ORIGINS",
    )


def render_error(error: EaselError, request: Request, request_id: str) -> Response:
    """Render a problem; where OpenAI's clients call, in OpenAI's shape."""
    render = failures.answer if routes.is_openai(request.url.path) else edge.problem_response
    return render(error, request, request_id)
