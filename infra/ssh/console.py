"""What the operator sees: data on stdout, messages on stderr, or one JSON document."""

import base64
import contextlib
import json
import sys
from collections.abc import Iterator

from infra.ssh.connection.framing import Sink
from infra.ssh.redact import Redactor, redact_text


class Output:
    """Where a remote command's output goes: the terminal, or fields of the JSON document."""

    def __init__(self, stdout: Sink, stderr: Sink, fields: dict[str, bytearray]) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self._fields = fields

    def fields(self) -> dict[str, object]:
        """What was captured: text, or `…_base64` where it is not UTF-8."""
        return dict(_as_json(name, bytes(data)) for name, data in self._fields.items())


class Console:
    """The two streams of this process. Secrets are taken out of whatever is shown."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, message: str) -> None:
        """One message to the person, on stderr."""
        print(redact_text(message), file=sys.stderr, flush=True)

    def line(self, text: str) -> None:
        """One line of data; nothing when a JSON document is wanted."""
        if not self.as_json:
            print(redact_text(text), flush=True)

    def document(self, document: dict[str, object]) -> None:
        """The JSON document."""
        print(redact_text(json.dumps(document, ensure_ascii=False)), flush=True)

    @contextlib.contextmanager
    def output(self, *, raw: bool = False) -> Iterator[Output]:
        """Sinks for a remote command; `raw` leaves secrets in."""
        if self.as_json:
            fields = {"stdout": bytearray(), "stderr": bytearray()}
            yield Output(fields["stdout"].extend, fields["stderr"].extend, fields)
            return
        if raw:
            yield Output(write_stdout, write_stderr, {})
            return
        out, err = Redactor(write_stdout), Redactor(write_stderr)
        try:
            yield Output(out.feed, err.feed, {})
        finally:
            out.flush()
            err.flush()


def write_stdout(data: bytes) -> None:
    """Bytes to stdout, at once."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_stderr(data: bytes) -> None:
    """Bytes to stderr, at once."""
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()


def _as_json(name: str, data: bytes) -> tuple[str, str]:
    try:
        return name, data.decode("utf-8")
    except UnicodeDecodeError:
        return f"{name}_base64", base64.b64encode(data).decode("ascii")
