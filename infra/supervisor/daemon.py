"""supervisord, made to start an ended program at once: `python -m infra.supervisor.daemon -c FILE`.

The loop of supervisor 4.3 sleeps on while a program ends, up to a second, and looks after its
programs before it takes note of the ended ones, so that another second may pass.
"""

import signal
import socket

from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.supervisord import Supervisor


class PromptSupervisor(Supervisor):  # type: ignore[misc] # supervisor has no type information
    """Wakes up when a program ends, and looks after it as soon as it has taken note."""

    def runforever(self) -> None:
        bell = _SignalBell()
        self.options.get_socket_map()[bell.descriptor] = bell
        super().runforever()

    def reap(self, once: bool = False, recursionguard: int = 0) -> None:
        super().reap(once, recursionguard)
        if recursionguard == 0:
            for group in self.process_groups.values():
                group.transition()


class _SignalBell:
    """What supervisord's loop waits for besides its sockets: it becomes readable with any signal.

    Python takes up an interrupted wait again by itself, so the signal alone ends none.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self.descriptor = self._reader.fileno()
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def handle_read_event(self) -> None:
        self._reader.recv(4096)

    def handle_error(self) -> None:
        """Called by the loop for an error in the above: there is nothing to mend."""


def main() -> None:
    """As `supervisord` does, but for its restart of itself, which nobody asks for here."""
    options = ServerOptions()
    options.realize(doc=__doc__)
    options.first, options.test = True, False
    try:
        PromptSupervisor(options).main()
    except ExitNow:
        options.close_httpservers()
        options.close_logger()


if __name__ == "__main__":
    main()
