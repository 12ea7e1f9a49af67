import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.infra.ssh.conftest import PROGRAM, Pod

pytestmark = pytest.mark.usefixtures("terminals")


@dataclass
class Terminal:
    """A terminal window with easel-ssh in it."""

    master: int
    slave: int
    process: subprocess.Popen[bytes]

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, text: bytes) -> bytes:
        """Return what is shown until `text` appears."""
        shown = b""
        deadline = time.monotonic() + 30
        while text not in shown:
            if not select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} did not appear in {shown!r}")
            shown += os.read(self.master, 65536)
        return shown

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def modes(self) -> list[object]:
        return list(termios.tcgetattr(self.slave))


@contextlib.contextmanager
def shell(pod: Pod, *arguments: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    # setsid --ctty makes the terminal the controlling one, as a terminal window does
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", sys.executable, str(PROGRAM), *arguments],
        env={**os.environ, "EASEL_SSH_CONFIG": str(pod.config), "TERM": "xterm"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    try:
        yield Terminal(master, slave, process)
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_a_shell_is_interactive_and_its_exit_code_is_ours(pod: Pod, via: str) -> None:
    with shell(pod, "--via", via, "shell") as terminal:
        before = terminal.modes
        terminal.type("test -t 0 && echo is-a-$((40 + 2))-terminal\n")
        terminal.wait_for(b"is-a-42-terminal")
        assert terminal.modes != before
        terminal.type("exit 7\n")
        assert terminal.process.wait(30) == 7
        assert terminal.modes == before


def test_a_shell_follows_the_size_of_the_window(pod: Pod, via: str) -> None:
    with shell(pod, "--via", via, "shell") as terminal:
        terminal.type("echo size=$(stty size)=\n")
        terminal.wait_for(b"size=30 100=")
        terminal.resize(132, 43)
        terminal.type(
            "until [ \"$(stty size)\" = '43 132' ]; do sleep 0.05; done; echo re$((1))sized\n"
        )
        terminal.wait_for(b"re1sized")


def test_a_shell_starts_in_the_directory_of_cd(pod: Pod, via: str) -> None:
    with shell(pod, "--via", via, "shell", "--cd", str(pod.workdir)) as terminal:
        terminal.type("echo in=$PWD=\n")
        terminal.wait_for(f"in={pod.workdir}=".encode())


def test_keys_reach_the_remote_program_as_they_are(pod: Pod, via: str) -> None:
    with shell(pod, "--via", via, "shell") as terminal:
        program = (
            'trap "echo got-$((1))-interrupt" INT; echo re$((1))ady; while :; do sleep 1; done'
        )
        terminal.type(f"bash -c '{program}'\n")
        terminal.wait_for(b"re1ady")
        terminal.type("\x03")
        terminal.wait_for(b"got-1-interrupt")
        assert terminal.process.poll() is None


def test_the_terminal_is_restored_when_the_program_is_ended(pod: Pod, via: str) -> None:
    with shell(pod, "--via", via, "shell") as terminal:
        before = terminal.modes
        terminal.type("echo re$((1))ady\n")
        terminal.wait_for(b"re1ady")
        terminal.process.send_signal(signal.SIGTERM)  # SIGHUP may be ignored here, by nohup
        assert terminal.process.wait(30) == 130
        assert terminal.modes == before


def test_the_terminal_is_restored_when_the_connection_drops(pod: Pod, via: str) -> None:
    server = pod.direct if via == "direct" else pod.gateway
    assert server is not None
    with shell(pod, "--via", via, "shell") as terminal:
        before = terminal.modes
        terminal.type("echo re$((1))ady\n")
        terminal.wait_for(b"re1ady")
        server.hang_up()
        assert terminal.process.wait(30) == 255
        assert terminal.modes == before


def test_ctrl_c_in_a_terminal_ends_exec_and_its_remote_process(pod: Pod, via: str) -> None:
    with shell(pod, "--via", via, "exec", "--shell", "echo re$((1))ady; sleep 300") as terminal:
        terminal.wait_for(b"re1ady")
        terminal.type("\x03")
        assert terminal.process.wait(30) == 130
