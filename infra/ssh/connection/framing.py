"""Send a script to a host and tell its output from everything else.

A direct connection and a gateway start the same loader: a `bash` that reads the script from its
standard input, so that no part of it shows in the remote process list, and runs it. An
unguessable marker says where the script's output begins; through a terminal, a second one ends
the output and carries the exit status. The host assembles the markers, so that the echo of a
typed line never matches.
"""

import base64
import re
import secrets
from collections.abc import Callable
from shlex import quote

Sink = Callable[[bytes], None]

_NOISE_LIMIT = 4096


class Frame:
    """The markers of one run and the texts that contain them."""

    def __init__(self) -> None:
        self._nonce = secrets.token_hex(16)
        self.ready = self._pattern("R_")
        """The shell behind the terminal answers."""
        self.loading = self._pattern("L_")
        """The terminal is 8-bit clean and waits for the payload."""
        self.begin = re.compile(f"B_{self._nonce}:(\\d+)\r?\n".encode())
        """The script's output begins; the group is the process group it runs in."""
        self._print_begin = f"printf '%s%s:%d\\n' B_ {self._nonce} $$"
        self.end = f"E_{self._nonce}:".encode()
        """The script's output has ended; `<status>\\n` follows."""

    def _pattern(self, kind: str) -> re.Pattern[bytes]:
        return re.compile(f"{kind}{self._nonce}\r?\n".encode())

    def _print(self, kind: str) -> str:
        return f"printf '%s%s\\n' {kind} {self._nonce}"

    def probe(self) -> bytes:
        """Return a repeatable line that silences an interactive shell and prints `ready`."""
        quiet = "stty -echo -opost 2>/dev/null; PS1= PS2=; unset PROMPT_COMMAND HISTFILE"
        return f" {quiet}; {self._print('R_')}\n".encode()

    def loader(self, payload: bytes) -> str:
        """Return a command that reads exactly `payload` from standard input and runs it.

        Its shell survives an interrupt, to report how the script ended.
        """
        load = f'trap : INT TERM; eval "$(head -c {len(payload)} | base64 -d)"'
        return f"exec bash --norc --noprofile -c {quote(load)}"

    def typed_loader(self, payload: bytes) -> bytes:
        """Return the loader as a line for an interactive shell; it first prints `loading`."""
        return f" stty raw isig -echo; {self._print('L_')}; {self.loader(payload)}\n".encode()

    def plain_payload(self, script: str) -> bytes:
        """Wrap a script for a channel that carries status, stderr and stdin by itself.

        The outer shell is silenced: it would print the script if a signal killed it.
        """
        return _encode(
            f"{self._print_begin}\nexec 3>&2 2>/dev/null\n"
            f"( trap - INT TERM; eval {quote(script)} ) 2>&3 3>&-\n"
        )

    def terminal_payload(self, script: str, *, stdin: bool) -> bytes:
        """Wrap a script for a terminal.

        Output goes through a pipe, so that programs behave as they do without a terminal.
        Standard input comes in frames (`stdin_frame`).
        """
        source = "< <(easel_stdin <&3)" if stdin else "</dev/null"
        return _encode(
            "exec 3<&0 2>/dev/null\n"
            "easel_stdin() { local n; while n=$(head -c 8) && [ $((10#${n:-0})) -gt 0 ]; do"
            " head -c $((10#$n)) | base64 -d; done; }\n"
            f"{self._print_begin}\n"
            f"( trap - INT TERM; eval {quote(script)} ) {source} 3<&- 2>&1"
            " | ( trap '' INT; exec cat 3<&- )\n"
            f"printf '%s%s:%d\\n' E_ {self._nonce} \"${{PIPESTATUS[0]}}\"\n"
            "exit\n"
        )


def stdin_frame(data: bytes) -> bytes:
    """Return a frame of standard input: 8 digits of length, then base64; empty data ends it.

    The length has a fixed size because bash's `read` may consume more than one line.
    """
    encoded = base64.b64encode(data)
    return b"%08d%b" % (len(encoded), encoded)


class OutputFilter:
    """Pass on the part of a stream between the begin marker and the end marker."""

    def __init__(self, sink: Sink, begin: re.Pattern[bytes], end: bytes = b"") -> None:
        self.opening: re.Match[bytes] | None = None
        """The match of the begin marker."""
        self.status: int | None = None
        """The exit status from the end marker."""
        self._sink, self._begin, self._end = sink, begin, end
        self._buffer = b""

    @property
    def started(self) -> bool:
        return self.opening is not None

    @property
    def noise(self) -> str:
        """What arrived instead of the begin marker, for an error message."""
        return "" if self.started else self._buffer.decode("utf-8", "replace").strip()

    def feed(self, data: bytes) -> None:
        if self.status is not None:
            return
        self._buffer += data
        if not self.started and not self._open():
            return
        if not self._end:
            self._pass(len(self._buffer))
        elif match := re.search(re.escape(self._end) + rb"(\d+)\r?\n", self._buffer):
            self.status = int(match[1])
            self._pass(match.start())
        else:
            self._pass(len(self._buffer) - _possible_marker(self._buffer, self._end))

    def _open(self) -> bool:
        self.opening = self._begin.search(self._buffer)
        if self.opening is None:
            self._buffer = self._buffer[-_NOISE_LIMIT:]
            return False
        self._buffer = self._buffer[self.opening.end() :]
        return True

    def _pass(self, count: int) -> None:
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        if data:
            self._sink(data)


def _possible_marker(buffer: bytes, marker: bytes) -> int:
    """Return the length of the tail that may be the start of the marker."""
    start = buffer.find(marker)
    if start >= 0:
        return len(buffer) - start
    longest = min(len(marker) - 1, len(buffer))
    return next((n for n in range(longest, 0, -1) if buffer.endswith(marker[:n])), 0)


def _encode(text: str) -> bytes:
    return base64.b64encode(text.encode("utf-8", "surrogateescape"))
