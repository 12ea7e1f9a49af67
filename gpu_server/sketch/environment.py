"""What lasts from job to job, and where frames go."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gpu_server.sketch.definitions import Definitions
from gpu_server.sketch.faults import Faults
from gpu_server.sketch.folders import Folders
from gpu_server.sketch.values import Output


class Outlet(Protocol):
    """Where frames go; `client` None means every client."""

    def send(self, event: str, data: Mapping[str, Any], client: str | None) -> None:
        """Send a JSON frame."""

    def send_preview(
        self, kind: str, image: bytes, metadata: Mapping[str, Any], client: str | None
    ) -> None:
        """Send a picture as type 4 with metadata, or as type 1, whichever the client asked for."""

    def wants_metadata(self, client: str | None) -> bool:
        """Whether the client gets previews of type 4."""

    def is_connected(self, client: str | None) -> bool:
        """Whether anybody would receive a frame."""

    def executing(self, client: str | None, node: str | None) -> None:
        """Remember the running node, for clients that reconnect."""


@dataclass
class Cached:
    """What a node returned, kept for the next graph with the same content."""

    output: Output
    meta: dict[str, Any]


Cache = dict[str, Cached]


@dataclass
class Environment:
    """What lasts from job to job."""

    folders: Folders
    definitions: Definitions
    faults: Faults
    outlet: Outlet
    interrupt: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    cache: Cache = field(default_factory=dict)
