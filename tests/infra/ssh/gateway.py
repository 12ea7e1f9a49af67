"""An in-process gateway that offers only a terminal, for machines without sshd."""

import asyncio
import contextlib
import os
import pty
import struct
from collections.abc import AsyncIterator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import asyncssh

_REFUSAL = b"Error: Your SSH client doesn't support PTY\n"
_BANNER = b"\r\n-- RUNPOD.IO --\r\nEnjoy your Pod #abc123xyz ^_^\r\n\r\n"


class _AnyUser(asyncssh.SSHServer):
    def __init__(self, key: asyncssh.SSHKey) -> None:
        self._key = key

    def begin_auth(self, _username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, _username: str, key: asyncssh.SSHKey) -> bool:
        return key == self._key


async def _serve(process: "asyncssh.SSHServerProcess[bytes]") -> None:
    if process.term_type is None:
        process.stdout.write(_REFUSAL)
        process.exit(0)
        return
    process.stdout.write(_BANNER)
    master, slave = pty.openpty()
    columns, lines, _, _ = process.term_size
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    shell = await asyncio.create_subprocess_exec(
        *("setsid", "--ctty", "bash", "--norc", "-i"), stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    typing = asyncio.create_task(_copy_keys(process, master))
    try:
        await _copy_screen(process, master)
        process.exit(await shell.wait())
    finally:
        typing.cancel()
        os.close(master)
        with contextlib.suppress(asyncio.CancelledError):
            await typing


async def _copy_keys(process: "asyncssh.SSHServerProcess[bytes]", master: int) -> None:
    while True:
        with contextlib.suppress(asyncssh.TerminalSizeChanged):
            data = await process.stdin.read(65536)
            if not data:
                return
            await asyncio.to_thread(_write, master, data)


def _write(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]


async def _copy_screen(process: "asyncssh.SSHServerProcess[bytes]", master: int) -> None:
    with contextlib.suppress(OSError):  # EIO: the shell has gone
        while data := await asyncio.to_thread(os.read, master, 65536):
            process.stdout.write(data)
            await process.stdout.drain()


@contextlib.asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[tuple[int, Path, str]]:
    """Run a gateway; yield its port, the user's private key and its known_hosts line."""
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    path = folder / "user_key"
    user_key.write_private_key(path)
    path.chmod(0o600)
    server = await asyncssh.create_server(
        lambda: _AnyUser(user_key.convert_to_public()),
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        process_factory=_serve,
        encoding=None,
        line_editor=False,
    )
    async with server:
        port = server.sockets[0].getsockname()[1]
        public = host_key.export_public_key().decode().split()
        yield port, path, f"[127.0.0.1]:{port} {public[0]} {public[1]}\n"
