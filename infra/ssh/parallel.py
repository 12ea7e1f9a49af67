"""Run one command for several targets at once, each in a process of its own."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Lock, Thread
from typing import IO

from infra.ssh.connection.framing import Sink
from infra.ssh.console import Console, piped_stdin, write_stderr, write_stdout
from infra.ssh.errors import InterruptError
from infra.ssh.targets import Target

_PROGRAM = Path(__file__).parents[1] / "ssh_manager.py"


class _Child:
    """The process for one target, and its output."""

    def __init__(self, target: Target, argv: list[str], stdin: Path | None, lock: Lock) -> None:
        self.document = bytearray()
        self.reader_gone = False
        self._prefix = f"[{target.name}] ".encode()
        self._lock = lock
        with Path(stdin or os.devnull).open("rb") as file:
            self.process = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, _PROGRAM, "--only", target.name, *argv],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that Ctrl-C reaches it only once, through us
            )
        self._threads: list[Thread] = []

    def start_reading(self, *, as_json: bool) -> None:
        """Start passing its output on line by line; a JSON document is collected instead."""
        if self.process.stdout and self.process.stderr:
            self._relay(self.process.stdout, self.document.extend if as_json else write_stdout)
            self._relay(self.process.stderr, write_stderr)

    def wait(self) -> int:
        """Wait until all its output is passed on; return its exit code as a shell would."""
        for thread in self._threads:
            thread.join()
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def _relay(self, stream: IO[bytes], sink: Sink) -> None:
        prefix = b"" if sink == self.document.extend else self._prefix

        def relay() -> None:
            try:
                for line in stream:
                    with self._lock:
                        sink(prefix + line)
            except BrokenPipeError:  # the reader of our output has gone
                self.reader_gone = True
                stream.close()  # so that the process notices too

        self._threads.append(Thread(target=relay))
        self._threads[-1].start()


def run_on_all(argv: list[str], targets: list[Target], console: Console) -> int:
    """Run the command line for each target, with `[name] ` before each line of output.

    Piped standard input goes to every target. Returns the highest exit code.
    """
    lock = Lock()
    with _stdin_copy() as stdin:
        children = [_Child(target, argv, stdin, lock) for target in targets]
        for child in children:
            child.start_reading(as_json=console.as_json)
        try:
            code = max([child.wait() for child in children])
        except KeyboardInterrupt:
            for child in children:
                child.process.send_signal(signal.SIGINT)
            try:
                code = max([InterruptError.exit_code, *(child.wait() for child in children)])
            except KeyboardInterrupt:  # a second one: stop waiting
                for child in children:
                    child.process.kill()
                raise
    if any(child.reader_gone for child in children):
        raise BrokenPipeError
    if console.as_json:
        documents = [json.loads(child.document) for child in children if child.document]
        entries = [entry for document in documents for entry in document["targets"]]
        console.document({"exit": code, "targets": entries})
    return code


@contextlib.contextmanager
def _stdin_copy() -> Iterator[Path | None]:
    """Copy piped input to a file, which each process can read from its start."""
    descriptor = piped_stdin()
    if descriptor is None:
        yield None
        return
    with tempfile.NamedTemporaryFile() as copy, open(descriptor, "rb", closefd=False) as piped:
        shutil.copyfileobj(piped, copy)
        copy.flush()
        yield Path(copy.name)
