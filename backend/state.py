"""What the routes and the entry point share of a running application."""

from dataclasses import dataclass

from fastapi import FastAPI

from backend.health import Platform
from backend.limits.keys import Keys
from backend.replication.leadership import Leadership
from backend.service import GenerationService
from web.errors import NoGpu


@dataclass(frozen=True, kw_only=True)
class Scheduling:
    """What exists only while this process schedules."""

    service: GenerationService
    platform: Platform


@dataclass(kw_only=True)
class State:
    keys: Keys
    leadership: Leadership | None
    """None: the only replica, which always schedules."""
    scheduling: Scheduling | None = None

    def install(self, app: FastAPI) -> None:
        app.state.backend = self

    @staticmethod
    def of(app: FastAPI) -> "State":
        state: State = app.state.backend
        return state

    def require_scheduling(self) -> Scheduling:
        """Return what schedules. Raises NoGpu while this process does not."""
        if self.scheduling is None:
            raise NoGpu("This replica does not schedule now", retry_after=5)
        return self.scheduling

    def stop_scheduling(self) -> None:
        """Release everyone who waits, before the process ends."""
        if self.leadership is not None:
            self.leadership.resign()
        if self.scheduling is not None:
            self.scheduling.service.dispatcher.queue.drop()
