"""The operator's terminal: data on stdout, messages on stderr, or one JSON document."""

import base64
import contextlib
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from infra.ssh.connection.framing import Sink
from infra.ssh.redact import Redactor, redact_text

_MB = 1_000_000
_MB_PER_LINE = 32


@dataclass(frozen=True)
class Output:
    """Where a remote command's output goes: the terminal, or fields of the JSON document."""

    stdout: Sink
    stderr: Sink
    captured: dict[str, bytearray] = field(default_factory=dict)

    def fields(self) -> dict[str, object]:
        """Return what was captured: as text, or as `…_base64` where it is not UTF-8."""
        fields: dict[str, object] = {}
        for name, data in self.captured.items():
            try:
                fields[name] = data.decode("utf-8")
            except UnicodeDecodeError:
                fields[f"{name}_base64"] = base64.b64encode(data).decode("ascii")
        return fields


@dataclass(kw_only=True, eq=False)
class Console:
    """The output streams of this process. Secrets are redacted from everything shown."""

    as_json: bool

    def say(self, message: str) -> None:
        print(redact_text(message), file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """Show one line of data, unless the output is a JSON document."""
        if not self.as_json:
            print(redact_text(text), flush=True)

    def document(self, document: dict[str, object]) -> None:
        print(redact_text(json.dumps(document, ensure_ascii=False)), flush=True)

    @contextlib.contextmanager
    def output(self, *, raw: bool = False) -> Iterator[Output]:
        """Open sinks for a remote command's output; `raw` does not redact secrets."""
        if self.as_json:
            captured = {"stdout": bytearray(), "stderr": bytearray()}
            yield Output(captured["stdout"].extend, captured["stderr"].extend, captured)
            return
        if raw:
            yield Output(write_stdout, write_stderr)
            return
        out, err = Redactor(write_stdout), Redactor(write_stderr)
        try:
            yield Output(out.feed, err.feed)
        finally:
            out.flush()
            err.flush()

    @contextlib.contextmanager
    def progress(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """Yield a function to call with the bytes done and the bytes in all, however often.

        On a terminal it keeps one line up to date; elsewhere each 32 MB make a line.
        """
        if self.as_json:
            yield lambda _done, _total: None
            return
        progress = _Progress(name, sys.stderr.isatty())
        try:
            yield progress.show
        finally:
            progress.end()


@dataclass(eq=False)
class _Progress:
    """How far a transfer has come, on standard error."""

    name: str
    terminal: bool
    _shown: str = ""

    def show(self, done: int, total: int) -> None:
        if self.terminal:
            text = f"{self.name}  {100 * done // max(total, 1)} % of {total / _MB:.1f} MB"
        else:
            step = done // _MB // _MB_PER_LINE * _MB_PER_LINE
            text = f"{self.name}: {step} of {total // _MB} MB" if step else ""
        if not total or text == self._shown:
            return
        self._shown = text
        begin, end = ("\r", "\x1b[K") if self.terminal else ("", "\n")
        print(f"{begin}{text}{end}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.terminal and self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def write_stdout(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_stderr(data: bytes) -> None:
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def piped_stdin() -> int | None:
    """Return the descriptor of standard input if something is piped into it."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return None
    # a character device is a terminal or /dev/null
    return None if stat.S_ISCHR(mode) else sys.stdin.fileno()
