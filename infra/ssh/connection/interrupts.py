"""Turn Ctrl-C, SIGTERM and SIGHUP into KeyboardInterrupt, but never in the middle of a packet.

An interrupt within a packet would corrupt the connection. Python raises interrupts only in the
main thread, so only the main thread has to defer them.
"""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupts:
    """Raise KeyboardInterrupt; while deferring, keep the first one and raise a second at once."""

    deferring = False
    pending = False

    def on_signal(self, _signal: int, _frame: FrameType | None) -> None:
        if self.deferring and not self.pending:
            self.pending = True
        else:
            self.pending = False
            raise KeyboardInterrupt


_interrupts = _Interrupts()


def install() -> None:
    """Raise KeyboardInterrupt for each of the signals from now on.

    Signals that are ignored stay ignored: `nohup` and a shell's `&` rely on that.
    """
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupts.on_signal)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """Hold back an interrupt until the end of the block."""
    _interrupts.deferring = True
    try:
        yield
    finally:
        _interrupts.deferring = False
        if _interrupts.pending:
            _interrupts.pending = False
            raise KeyboardInterrupt
