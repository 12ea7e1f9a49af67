"""Show progress to people: a moving line on a terminal, an occasional line elsewhere."""

import time
from typing import TextIO

from gpu_server.models.manifest import ModelFile

_TERMINAL_INTERVAL_S, _PLAIN_INTERVAL_S = 0.2, 10.0
_BAR_WIDTH = 24


class ProgressLines:
    """Writes the progress of one file after another to a stream."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._terminal = out, out.isatty()
        self._file: ModelFile | None = None
        self._began = self._shown = 0.0
        self._first = 0

    def __call__(self, file: ModelFile, done: int) -> None:
        now = time.monotonic()
        if self._file is None or file.id != self._file.id:
            self.finish()
            self._file, self._began, self._first, self._shown = file, now, done, 0.0
        interval = _TERMINAL_INTERVAL_S if self._terminal else _PLAIN_INTERVAL_S
        if now - self._shown < interval and done < file.size:
            return
        self._shown = now
        self._write(file, done, now - self._began)

    def finish(self) -> None:
        """End the moving line."""
        if self._terminal and self._file is not None:
            self._out.write("\n")
            self._out.flush()
        self._file = None

    def _write(self, file: ModelFile, done: int, seconds: float) -> None:
        speed = max(done - self._first, 0) / seconds if seconds > 0.5 else 0.0
        left = f"{(file.size - done) / speed:.0f} s left" if speed else ""
        text = f"{done / 1e9:.2f}/{file.size / 1e9:.2f} GB  {speed / 1e6:.0f} MB/s  {left}"
        percent = done * 100 // file.size
        if self._terminal:
            bar = ("█" * (_BAR_WIDTH * done // file.size)).ljust(_BAR_WIDTH, "░")
            self._out.write(f"\r{file.id:<22} {bar} {percent:>3} %  {text}\x1b[K")
        else:
            self._out.write(f"{file.id} {percent} %  {text.rstrip()}\n")
        self._out.flush()
