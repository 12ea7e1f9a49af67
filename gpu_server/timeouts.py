"""The GPU server's timeouts and intervals, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timeouts:
    """All in seconds. A ComfyUI that hangs, goes mute or runs nothing is noticed within 20 s."""

    request_s: float = 10.0
    """Timeout for any answer of ComfyUI."""

    poll_s: float = 5.0
    """Interval between health checks of a ComfyUI that is in order."""
    down_poll_s: float = 0.25
    """Interval between health checks of one that is not."""
    liveness_s: float = 3.5
    """Timeout for one health check; ComfyUI itself pauses for under half a second."""
    misses: int = 3
    """Failed checks in a row that mean it is frozen (poll_s + misses × liveness_s < 20)."""
    styles_s: float = 30.0
    """Interval between readings of ComfyUI's node definitions, which list its models."""

    ping_s: float = 5.0
    """Interval between pings on the event socket, and the timeout for each reply."""
    first_frame_s: float = 5.0
    """Timeout for the event socket to open and deliver its first frame."""
    backoff_s: float = 2.0
    """Longest pause between two attempts to open the event socket."""

    tick_s: float = 1.0
    """Silence after which ComfyUI's queue and history are checked for a prompt."""
    history_s: float = 2.0
    """How long a prompt that left the queue may be missing from the history before it is lost."""
    mute_s: float = 4.0
    """Silence of a running prompt after which the event socket is replaced."""
    dead_s: float = 12.0
    """Silence between nodes after which a prompt reported as running means a dead worker thread."""
    quiet_node_s: float = 30.0
    """How much longer a node may be silent. This and the next matter only for a ComfyUI that does
    not say whether its worker thread lives: one without our nodes."""
    load_s_per_gb: float = 10.0
    """How much longer still for each GB of the model file that the node may be loading."""
    not_started_s: float = 5.0
    """How long a prompt may wait while nothing runs before the worker thread counts as dead."""
    loading_s: float = 900.0
    """Timeout for loading models, which does not count as drawing."""
    stop_s: float = 30.0
    """How long a timed-out prompt may take to stop before ComfyUI is restarted."""
    cancel_s: float = 30.0
    """How long a DELETE waits for the cancellation to take effect before it answers."""

    judge_s: float = 120.0
    """Timeout for judging, encoding and signing an image; beyond it the detector counts as hung."""

    retry_s: float = 0.2
    """Pause before the next request to a ComfyUI that did not answer."""
    engine_back_s: float = 60.0
    """How long jobs wait for ComfyUI to come back before they end as `engine_lost`."""
    latched_s: float = 10.0
    """The same when ComfyUI needs a restart and has no known supervisor."""
    sweep_s: float = 1.0
    """Interval between removals of expired results and of what jobs left in ComfyUI."""
