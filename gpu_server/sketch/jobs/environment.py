"""What the worker keeps from job to job."""

import threading
from dataclasses import dataclass, field
from typing import Any

from gpu_server.sketch.faults import Faults
from gpu_server.sketch.folders import Folders
from gpu_server.sketch.graphs.definitions import Definitions
from gpu_server.sketch.jobs.values import Output
from gpu_server.sketch.sockets import Sockets


@dataclass
class Cached:
    """What a node returned, kept for the next graph with the same content."""

    output: Output
    meta: dict[str, Any]


@dataclass
class Environment:
    """What outlives a job; `cache` is by node signature, and a restart replaces all of it."""

    folders: Folders
    definitions: Definitions
    faults: Faults
    sockets: Sockets
    interrupt: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    cache: dict[str, Cached] = field(default_factory=dict)
