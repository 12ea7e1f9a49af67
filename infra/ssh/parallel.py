"""The same command for several targets at once: one process of this program for each."""

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

from infra.ssh.commands.run import piped_stdin
from infra.ssh.connection.framing import Sink
from infra.ssh.console import Console, write_stderr, write_stdout
from infra.ssh.errors import InterruptError
from infra.ssh.targets import Target

_PROGRAM = Path(__file__).parents[1] / "ssh_manager.py"


class _Member:
    """The process for one target and what it prints."""

    def __init__(self, target: Target, argv: list[str], stdin: Path | None, lock: Lock) -> None:
        self.document = bytearray()
        self._prefix = f"[{target.name}] ".encode()
        self._lock = lock
        with Path(stdin or os.devnull).open("rb") as file:
            self.process = subprocess.Popen(  # noqa: S603 - this program itself
                [sys.executable, _PROGRAM, "--only", target.name, *argv],
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that Ctrl-C reaches it once, through us
            )
        self.unread = False
        self._threads: list[Thread] = []

    def read(self, *, as_json: bool) -> None:
        """Begins passing its output on, line by line; a JSON document is kept."""
        if self.process.stdout and self.process.stderr:
            self._relay(self.process.stdout, self.document.extend if as_json else write_stdout)
            self._relay(self.process.stderr, write_stderr)

    def wait(self) -> int:
        """Its exit code, when all it printed has been passed on."""
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
            except BrokenPipeError:  # whoever read our output has gone
                self.unread = True
                stream.close()  # so that it notices too, as it would alone

        self._threads.append(Thread(target=relay))
        self._threads[-1].start()


def run_on_all(argv: list[str], targets: list[Target], console: Console) -> int:
    """Runs the command line for each target; lines come prefixed `[name] `.

    Returns the highest exit code. Piped standard input goes to every target.
    """
    lock = Lock()
    with _stdin_copy() as stdin:
        members = [_Member(target, argv, stdin, lock) for target in targets]
        for member in members:
            member.read(as_json=console.as_json)
        try:
            code = max([member.wait() for member in members])
        except KeyboardInterrupt:
            for member in members:
                member.process.send_signal(signal.SIGINT)
            try:
                code = max([InterruptError.exit_code, *(member.wait() for member in members)])
            except KeyboardInterrupt:  # impatience: nothing is waited for
                for member in members:
                    member.process.kill()
                raise
    if any(member.unread for member in members):
        raise BrokenPipeError
    if console.as_json:
        documents = [json.loads(member.document) for member in members if member.document]
        entries = [entry for document in documents for entry in document["targets"]]
        console.document({"exit": code, "targets": entries})
    return code


@contextlib.contextmanager
def _stdin_copy() -> Iterator[Path | None]:
    """What is piped into this process, as a file that each process reads from its start."""
    descriptor = piped_stdin()
    if descriptor is None:
        yield None
        return
    with tempfile.NamedTemporaryFile() as copy, open(descriptor, "rb", closefd=False) as piped:
        shutil.copyfileobj(piped, copy)
        copy.flush()
        yield Path(copy.name)
