"""Ctrl-C between two packets: raised in the middle of one it would spoil the connection."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Held:
    """Keeps a first Ctrl-C (SIGTERM, SIGHUP) until somebody looks; a second is raised at once."""

    def __init__(self) -> None:
        self._interrupted = False

    def look(self) -> None:
        """Raises the KeyboardInterrupt that was kept, if there is one."""
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt

    def interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        """The handler of the signals."""
        self.look()
        self._interrupted = True


@contextlib.contextmanager
def held() -> Iterator[Held]:
    """Interrupts are kept within, and raised at its end or at `look()`.

    Threads but the main one are never interrupted, so there it does nothing.
    """
    kept = Held()
    if threading.current_thread() is not threading.main_thread():
        yield kept
        return
    before = {number: signal.signal(number, kept.interrupt) for number in _SIGNALS}
    try:
        yield kept
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    kept.look()
