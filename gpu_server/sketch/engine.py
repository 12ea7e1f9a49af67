"""One engine from start to stop: its folders, queue, worker and sockets."""

import asyncio
import itertools
import time
import uuid
from typing import Any

from gpu_server.sketch.faults import Faults
from gpu_server.sketch.folders import Folders
from gpu_server.sketch.graphs.definitions import Definitions, Models
from gpu_server.sketch.jobs.execution import Environment
from gpu_server.sketch.jobs.queue import JobQueue
from gpu_server.sketch.jobs.worker import Worker
from gpu_server.sketch.sockets import Sockets

STOP_TIMEOUT_S = 5.0  # how long to wait for the worker; drawing a picture takes less


class Engine:
    """Everything one ComfyUI process would hold; build it inside a running event loop."""

    def __init__(self, folders: Folders, models: Models) -> None:
        self.folders = folders
        self.definitions = Definitions(models, folders)
        self.faults = Faults()
        self.sockets = Sockets(asyncio.get_running_loop())
        self._up_at = 0.0
        self._begin()

    def _begin(self) -> None:
        self.boot_id = str(uuid.uuid4())
        self.numbers = itertools.count()
        self.queue = JobQueue(self._publish_status)
        environment = Environment(self.folders, self.definitions, self.faults, self.sockets)
        self.worker = Worker(self.queue, environment)
        self.worker.start()

    def stop(self) -> None:
        """Stop the worker; running and pending jobs are lost."""
        self.worker.stop()
        self.faults.clear()
        self.sockets.release()

    @property
    def is_down(self) -> bool:
        """Whether the engine pretends that its process is gone."""
        return time.monotonic() < self._up_at

    def restart(self, seconds: float = 0.0) -> None:
        """Lose queue, history, cache and temp, as if the process was killed and started again.

        For `seconds` after that, every connection is cut.
        """
        self._up_at = time.monotonic() + seconds
        self.stop()
        self.sockets.forget()
        self.folders.empty_temp()
        self._begin()

    def status(self) -> dict[str, Any]:
        """Return the body of `GET /prompt` and of status frames."""
        return _status(self.queue.remaining)

    def _publish_status(self, remaining: int) -> None:
        self.sockets.send("status", {"status": _status(remaining)}, None)


def _status(remaining: int) -> dict[str, Any]:
    return {"exec_info": {"queue_remaining": remaining}}
