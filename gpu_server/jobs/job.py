"""A job: what was asked and its state, which others follow without ever holding it up."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from gpu_server import schemas
from gpu_server.comfy.events import PreviewImage
from gpu_server.pictures.formats import ImageFormat
from gpu_server.schemas import State
from web.errors import EaselError
from workflows.parameters import Request


@dataclass(frozen=True)
class Order:
    """What to draw, checked and complete; kept on disk so that a restart can go on with it."""

    request: Request
    size: tuple[int, int]
    format: ImageFormat
    timeout_s: float

    def as_json(self) -> dict[str, Any]:
        return {
            "mode": self.request.mode,
            "style": self.request.style,
            "values": dict(self.request.values),
            "size": list(self.size),
            "format": self.format,
            "timeout_s": self.timeout_s,
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> "Order":
        return cls(
            Request(mode=kept["mode"], style=kept["style"], **kept["values"]),
            (kept["size"][0], kept["size"][1]),
            kept["format"],
            kept["timeout_s"],
        )


def fingerprint(body: dict[str, Any], photo: bytes | None) -> str:
    """Tells whether two requests under one id ask for the same thing."""
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode())
    digest.update(photo or b"")
    return digest.hexdigest()


def attempt_ids(job: UUID, attempt: int) -> tuple[str, ...]:
    """The prompt ids of a job's attempts up to this one, which is counted from 0."""
    return (str(job), *(str(uuid5(job, f"attempt {k}")) for k in range(1, attempt + 1)))


@dataclass(eq=False)
class Job:
    """One job on this pod. Only the runner changes it, by `update`."""

    id: UUID
    order: Order
    fingerprint: str
    attempt: int = 0
    created_at: float = field(default_factory=time.time)
    state: State = State.queued
    stage: str = "waiting"
    progress: float = 0.0
    engine: str = ""
    preview: PreviewImage | None = None
    preview_taken: bool = False
    previews_dropped: int = 0
    """Previews that were replaced before anybody took them."""
    timings: schemas.Timings = field(default_factory=schemas.Timings)
    images: list[schemas.ImageInfo] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    """The encoded images, as long as they are not on disk."""
    error: EaselError | None = None
    ended_at: float = 0.0
    submitted: bool | None = False
    """Whether ComfyUI was given this attempt; None: unknown, from before a restart."""
    kept: bool = True
    """Whether it outlives whoever asked for it; else it ends when they hang up."""
    clean: bool = False
    """Nothing of it is left in ComfyUI."""
    cancelling: bool = False
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when its prompt moved, or when it is to be stopped: for whoever follows the prompt."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    version: int = 0
    _followers: set[asyncio.Event] = field(default_factory=set)

    @property
    def style(self) -> tuple[str, str]:
        return self.order.request.mode, self.order.request.style

    @property
    def prompt_id(self) -> str:
        """The id under which ComfyUI knows this attempt; the first is the job's own."""
        return attempt_ids(self.id, self.attempt)[-1]

    @property
    def folder(self) -> str:
        """Where ComfyUI keeps this attempt's files, below its input and output folders."""
        return f"easel/{self.id}" if self.attempt == 0 else f"easel/{self.id}-{self.attempt}"

    def cancel(self) -> None:
        """Ask for its end; whoever runs it does the rest."""
        self.update(cancelling=True)
        self.stop.set()
        self.wake.set()

    def update(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        self.version += 1
        if self.state.ended:
            self.done.set()
        for follower in self._followers:
            follower.set()

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[asyncio.Event]:
        """An event that is set on every change from now on; clear it before looking."""
        event = asyncio.Event()
        event.set()
        self._followers.add(event)
        try:
            yield event
        finally:
            self._followers.discard(event)

    def view(self, position: int | None = None) -> schemas.Job:
        """The state as the API shows it."""
        return schemas.Job(
            id=self.id,
            status=self.state,
            mode=self.order.request.mode,
            style=self.order.request.style,
            seed=self.order.request.seed,
            engine=self.engine,
            position=position if self.state is State.queued else None,
            progress=round(self.progress, 4),
            stage=self.stage,
            created_at=datetime.fromtimestamp(self.created_at, UTC),
            timings=self.timings,
            images=self.images,
            error=self.error.problem() if self.error else None,
        )
