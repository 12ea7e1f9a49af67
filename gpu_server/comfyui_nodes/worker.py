"""ComfyUI's worker thread, which runs every prompt and which nothing restarts once it has ended."""

import threading


class Worker:
    """Finds the thread by the name of its function and remembers it."""

    def __init__(self, function: str = "prompt_worker") -> None:
        self._function = function
        self._thread: threading.Thread | None = None

    def is_alive(self) -> bool | None:
        """Return None until the thread was seen: it starts after the nodes were loaded."""
        for thread in threading.enumerate():
            if self._function in thread.name:
                self._thread = thread
        return None if self._thread is None else self._thread.is_alive()
