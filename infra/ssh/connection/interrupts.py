"""Ctrl-C, SIGTERM and SIGHUP between two packets: within one they would spoil the connection.

Python raises them in the main thread, so that only there anything has to be held.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupts:
    """Raises KeyboardInterrupt; while held, keeps a first one and raises a second at once."""

    def __init__(self) -> None:
        self.held = False
        self._kept = False

    def arrive(self, _signal: int, _frame: FrameType | None) -> None:
        if self.held and not self._kept:
            self._kept = True
        else:
            self._raise()

    def let_go(self) -> None:
        self.held = False
        if self._kept:
            self._raise()

    def _raise(self) -> None:
        self._kept = False
        raise KeyboardInterrupt


_interrupts = _Interrupts()


def install() -> None:
    """From now on each of the signals is a KeyboardInterrupt.

    But for those that are ignored, as `nohup` and a shell's `&` leave them.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupts.arrive)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What comes within is raised at its end."""
    _interrupts.held = True
    try:
        yield
    finally:
        _interrupts.let_go()
