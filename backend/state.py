"""What the routes and the entry point share of a running application."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import FastAPI

from backend.limits.keys import Keys
from backend.limits.people import People
from backend.replication.leadership import Leadership
from backend.service import GenerationService
from web.errors import NoGpu


@dataclass(kw_only=True)
class State:
    keys: Keys
    people: People
    leadership: Leadership | None
    """None: the only replica, which always schedules."""
    model_aliases: Mapping[str, str] = field(default_factory=dict)
    """Further names of models in OpenAI's API → the models they mean."""
    answers_chats: bool = True
    service: GenerationService | None = None
    """None until this process schedules."""

    def install(self, app: FastAPI) -> None:
        app.state.backend = self

    @staticmethod
    def of(app: FastAPI) -> "State":
        state: State = app.state.backend
        return state

    def require_service(self) -> GenerationService:
        """Return the service. Raises NoGpu until this process schedules."""
        if self.service is None:
            raise NoGpu("This replica does not schedule now", retry_after=5)
        return self.service

    def stop_scheduling(self) -> None:
        """Release everyone who waits, before the process ends."""
        if self.leadership is not None:
            self.leadership.resign()
        if self.service is not None:
            self.service.dispatcher.queue.drop()
