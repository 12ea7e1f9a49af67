"""Switchable faults, each a way in which a real ComfyUI was seen to fail.

They are for tests and drills, and available only with `--faults`. `count` is how many times a fault
strikes (by default until cleared), `seconds` is how long it lasts.
"""

import threading
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

FaultName = Literal[
    "mute",  # sockets stay open and answer pings, but get no more frames
    "half_open",  # sockets stay open but answer nothing, not even pings
    "held_up",  # no socket gets a frame for `seconds`, then all frames come at once
    "drop_socket",  # sockets are cut without a close frame (1006)
    "odd_frames",  # every client gets frames of shapes that only custom nodes send
    "frozen",  # the whole server stands still for `seconds`
    "restart",  # sockets cut, queue and history lost, new boot id, temp emptied
    "worker_dead",  # HTTP works and prompts are accepted, but nothing ever runs
    "worker_dies",  # the worker thread ends after a node of the running prompt
    "lost_prompt",  # accepted with 200, then nowhere to be found
    "post_lost",  # accepted, but the connection is cut before the answer
    "silent_drop_node_errors",  # 200 with node_errors; the named output never runs
    "interrupt_lost",  # POST /interrupt answers 200 and changes nothing
    "slow",  # each sampling step takes `seconds` longer
    "slow_load",  # loaders take `seconds` and ignore interrupts meanwhile
    "history_race",  # history is written `seconds` after execution_success
    "cached_file_gone",  # a cached output names a file that was deleted
    "out_of_memory",  # `device` "gpu" (torch.OutOfMemoryError) or "cpu" (RuntimeError)
    "cuda_fault",  # every job fails until a restart
    "damaged_model",  # loaders fail; `model` limits it to one file
]
NAMES: tuple[str, ...] = get_args(FaultName)
SUDDEN = ("mute", "half_open", "held_up", "drop_socket", "odd_frames", "frozen", "restart")
"""The faults that strike once, at the request for them; the others are armed."""

_DEFAULT_DURATION_S = {
    "frozen": 2.0,
    "held_up": 2.0,
    "slow": 0.5,
    "slow_load": 2.0,
    "history_race": 0.35,
    "restart": 0.0,
}


class FaultRequest(BaseModel):
    """The body of `POST /sketch/faults`."""

    model_config = ConfigDict(extra="forbid")

    fault: FaultName
    count: int | None = Field(default=None, ge=1, le=1_000_000)
    seconds: float | None = Field(default=None, ge=0, le=3600)
    device: Literal["gpu", "cpu"] = "gpu"
    model: str | None = None

    @property
    def duration(self) -> float:
        """`seconds`, or the default for this fault."""
        return _DEFAULT_DURATION_S.get(self.fault, 0.0) if self.seconds is None else self.seconds


class NodeFaultError(Exception):
    """Raised inside a node; `kind` is the exception type that ComfyUI would name."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass
class Faults:
    """The armed faults, shared by the event loop and the worker thread."""

    _armed: dict[str, FaultRequest] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _cleared: threading.Event = field(default_factory=threading.Event)

    def arm(self, request: FaultRequest) -> None:
        """Arm a fault, replacing an earlier one of the same name."""
        with self._lock:
            self._cleared.clear()
            self._armed[request.fault] = request

    def clear(self) -> None:
        """Disarm everything and end ongoing waits."""
        with self._lock:
            self._armed.clear()
            self._cleared.set()

    def disarm(self, name: FaultName) -> None:
        with self._lock:
            self._armed.pop(name, None)

    def strikes(self, name: FaultName) -> FaultRequest | None:
        """Return the fault if it is armed, and count it down by one."""
        with self._lock:
            fault = self._armed.get(name)
            if fault is not None and fault.count is not None:
                fault.count -= 1
                if fault.count == 0:
                    del self._armed[name]
            return fault

    def armed(self, name: FaultName) -> FaultRequest | None:
        """Return the fault if it is armed, without counting it down."""
        return self._armed.get(name)

    def wait(self, name: FaultName) -> None:
        """Sleep for the duration of a slowing fault, or until the faults are cleared."""
        if (fault := self.strikes(name)) is not None:
            self._cleared.wait(fault.duration)

    def hold(self, name: FaultName, stopped: threading.Event) -> None:
        """Block while a fault is armed and the engine runs."""
        while self.armed(name) is not None and not stopped.is_set():
            self._cleared.wait(0.05)

    def before_work(self) -> None:
        """Raise NodeFaultError if a fault strikes; call it where the GPU would work."""
        if self.armed("cuda_fault") is not None:
            raise NodeFaultError(
                "torch.AcceleratorError",
                "CUDA error: an illegal memory access was encountered\n"
                "CUDA kernel errors might be asynchronously reported at some other API call",
            )
        fault = self.strikes("out_of_memory")
        if fault is not None and fault.device == "gpu":
            raise NodeFaultError("torch.OutOfMemoryError", "Allocation on device \n")
        if fault is not None:
            raise NodeFaultError(
                "RuntimeError",
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 4398046511104 bytes. Error code 12",
            )

    def before_load(self, model: str) -> None:
        """Sleep or raise NodeFaultError if a fault strikes; call it in each loader."""
        self.wait("slow_load")
        fault = self.armed("damaged_model")
        if fault is not None and fault.model in (None, model):
            self.strikes("damaged_model")
            raise NodeFaultError(
                "safetensors._safetensors_rust.SafetensorError",
                "Error while deserializing header: incomplete metadata, file not fully covered",
            )

    def describe(self) -> list[dict[str, Any]]:
        """Return the armed faults for `GET /sketch/faults`."""
        with self._lock:
            return [fault.model_dump(exclude_none=True) for fault in self._armed.values()]
