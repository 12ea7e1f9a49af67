"""How long the GPU server waits for what, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """All in seconds. A ComfyUI that hangs, is mute or runs nothing is noticed within 20 s."""

    request_s: float = 10.0
    """For any answer of ComfyUI."""

    poll_s: float = 5.0
    """Between two looks at a ComfyUI that is well."""
    down_poll_s: float = 0.25
    """Between two looks at one that is not."""
    liveness_s: float = 3.5
    """For the answer to such a look; ComfyUI's own pauses are under half a second."""
    misses: int = 3
    """Looks without an answer until it counts as frozen (poll_s + misses × liveness_s < 20)."""
    styles_s: float = 30.0
    """Between two readings of ComfyUI's node definitions, which list its models."""

    ping_s: float = 5.0
    """Between two pings on the event socket, and for the answer to one."""
    first_frame_s: float = 5.0
    """For the event socket to open and say its first word."""
    backoff_s: float = 2.0
    """Longest pause between two tries to open the event socket."""

    tick_s: float = 1.0
    """Silence after which queue and history are asked about a prompt."""
    history_s: float = 2.0
    """For the history of a prompt that has left the queue; then it is lost."""
    mute_s: float = 4.0
    """Silence of a running prompt after which the event socket is replaced."""
    dead_s: float = 12.0
    """A prompt that is called running for so long without any sign: the worker thread is dead."""
    not_started_s: float = 5.0
    """The same for a prompt that waits although nothing runs."""
    loading_s: float = 900.0
    """For loading models, which is not counted as drawing."""
    stop_s: float = 30.0
    """For a prompt that is over its time to stop; then ComfyUI is restarted."""
    cancel_s: float = 30.0
    """How long an answer to a cancellation is held back until it has taken effect."""

    judge_s: float = 120.0
    """For judging, encoding and signing a picture; after that the detector counts as hanging."""

    retry_s: float = 0.2
    """Between two tries to reach a ComfyUI that should be there."""
    engine_back_s: float = 60.0
    """For ComfyUI to come back; jobs that wait for it end as `engine_lost` after that."""
    latched_s: float = 10.0
    """The same when it needs a restart and nobody is known to restart it."""
    sweep_s: float = 1.0
    """Between two rounds of tidying up."""
