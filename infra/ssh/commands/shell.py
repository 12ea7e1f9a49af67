"""`shell`: an interactive terminal on the host."""

import contextlib
import os
import select
import shlex
import signal
import socket
import sys
import termios
import tty
from collections.abc import Iterator

import paramiko

from infra.ssh.console import write_stdout
from infra.ssh.errors import ConnectionLostError, UsageError
from infra.ssh.session import Outcome, Session

_CHUNK = 65536


def shell(session: Session) -> Outcome:
    """Run `shell [--cd DIR]`; the exit code is the remote shell's."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("shell needs a terminal; for scripts there is exec")
    with session.connect() as remote, remote.open_channel() as channel:
        size = os.get_terminal_size()
        channel.get_pty(os.environ.get("TERM", "xterm"), size.columns, size.lines)
        directory = session.options.cd
        if directory is not None and remote.route.via == "direct":
            channel.exec_command(f'cd -- {shlex.quote(directory)} && exec "$SHELL" -l')
        else:
            channel.invoke_shell()
        if directory is not None and remote.route.via == "proxy":
            channel.sendall(f" cd -- {shlex.quote(directory)}\n".encode())
        with _window_changes() as changes, _raw_terminal():
            _relay(channel, changes)
        code = channel.recv_exit_status()
    if code < 0:
        raise ConnectionLostError(f"{remote.route} closed the connection")
    return Outcome(code)


def _relay(channel: paramiko.Channel, changes: socket.socket) -> None:
    stdin = sys.stdin.fileno()
    sources: list[paramiko.Channel | socket.socket | int] = [channel, changes, stdin]
    while True:
        ready = select.select(sources, [], [])[0]
        if changes in ready:
            changes.recv(_CHUNK)
            size = os.get_terminal_size()
            channel.resize_pty(size.columns, size.lines)
        if channel in ready:
            if not (data := channel.recv(_CHUNK)):
                return
            write_stdout(data)
        if stdin in ready:
            if keys := os.read(stdin, _CHUNK):
                with contextlib.suppress(OSError):  # the shell has just ended
                    channel.sendall(keys)
            else:
                sources.remove(stdin)


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Pass keys on uninterpreted during the block, and always restore the terminal."""
    stdin = sys.stdin.fileno()
    saved = termios.tcgetattr(stdin)
    try:
        tty.setraw(stdin, termios.TCSADRAIN)  # keeps what was typed already
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, saved)


@contextlib.contextmanager
def _window_changes() -> Iterator[socket.socket]:
    """Yield a socket that becomes readable when the terminal's size changes (SIGWINCH)."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        handler = signal.signal(signal.SIGWINCH, lambda *_: None)
        wakeup = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(wakeup)
            signal.signal(signal.SIGWINCH, handler)
