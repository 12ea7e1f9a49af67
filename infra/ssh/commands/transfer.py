"""`push` and `pull`: copy one file, verified by SHA-256, completely or not at all."""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import shlex
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import BinaryIO

import paramiko

from infra.ssh.connection.remote import Remote
from infra.ssh.errors import CommandTimeoutError, ProtocolError, SshError, UsageError
from infra.ssh.session import Outcome, Session

_STOP_TIMEOUT_S = 3.0
"""How long to wait for a transfer to clean up before cutting the connection."""

_Progress = Callable[[int, int], None]
"""Called as a transfer proceeds; raises to stop it."""


def push(session: Session) -> Outcome:
    """Run `push FILE REMOTE_PATH`; into a directory, the file keeps its name."""
    source = Path(session.options.source)
    if not source.is_file():
        raise UsageError(f"push sends one file, and {source} is not a file")
    with source.open("rb") as file, session.connect() as remote:
        digest = sha256(file)
        mode = stat.S_IMODE(source.stat().st_mode)
        destination = _Destination(session.options.destination, source.name, digest, mode)
        send = _send_by_sftp if remote.route.via == "direct" else _send_by_terminal
        path = send(remote, file, destination, session.options.timeout)
        size = source.stat().st_size
    session.console.line(f"{path}  {size} bytes  sha256 {digest}")
    return Outcome(0, _fields(remote, path, size, digest))


def pull(session: Session) -> Outcome:
    """Run `pull REMOTE_PATH [FILE]`; into a directory, the file keeps its name."""
    source = session.options.source
    path = Path(session.options.destination)
    if path.is_dir():
        path /= os.path.basename(source.rstrip("/"))  # noqa: PTH119 - a remote path
    with session.connect() as remote, _replacing(path) as file:
        receive = _receive_by_sftp if remote.route.via == "direct" else _receive_by_terminal
        expected = receive(remote, source, file, session.options.timeout)
        digest = sha256(file)
        if digest != expected:
            raise ProtocolError(f"{source} arrived damaged (SHA-256 differs); nothing was kept")
        size = file.seek(0, os.SEEK_END)
    session.console.line(f"{path}  {size} bytes  sha256 {digest}")
    return Outcome(0, _fields(remote, str(path), size, digest))


def sha256(file: BinaryIO) -> str:
    """Return the digest of the whole file, and rewind it."""
    file.seek(0)
    # typeshed's BinaryIO has no readinto
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    file.seek(0)
    return digest


def _fields(remote: Remote, path: str, size: int, digest: str) -> dict[str, object]:
    return {"via": remote.route.via, "path": path, "bytes": size, "sha256": digest}


@dataclass(eq=False)
class _Destination:
    """Where a file goes: first to a temporary name, then, once verified, to its own."""

    path: str
    name: str
    digest: str
    mode: int
    suffix: str = field(default_factory=lambda: f".part-{secrets.token_hex(4)}")

    def names(self) -> str:
        """Return bash text that sets `path` and `part`, and removes the part at the end."""
        name, path = shlex.quote(self.name), shlex.quote(self.path)
        return (
            f"path={path}; case $path in */) path=${{path%/}}/{name} ;; esac\n"
            f'[ ! -d "$path" ] || path=$path/{name}\npart=$path{self.suffix}\n'
            "trap 'rm -f -- \"$part\"' EXIT\n"
        )

    def settle(self) -> str:
        """Return bash text that verifies the file and gives it its own name."""
        return (
            f'if [ "$(sha256sum <"$part" | cut -c1-64)" != {self.digest} ]; then\n'
            "  echo 'the file arrived damaged (SHA-256 differs); nothing was changed' >&2; exit 1\n"
            "fi\n"
            f'chmod {self.mode:o} -- "$part" && mv -fT -- "$part" "$path" && printf %s "$path"\n'
        )


def _send_by_sftp(
    remote: Remote, file: BinaryIO, destination: _Destination, timeout: float | None
) -> str:
    def transfer(sftp: paramiko.SFTPClient, progress: _Progress) -> None:
        if destination.path.endswith("/") or _is_directory(sftp, destination.path):
            destination.path = f"{destination.path.rstrip('/')}/{destination.name}"
        part = destination.path + destination.suffix
        try:
            sftp.open(part, "wx").close()
            sftp.chmod(part, 0o600)  # the file may be a secret
            sftp.putfo(file, part, callback=progress, confirm=False)
        except BaseException:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                sftp.remove(part)
            raise

    _by_sftp(remote, destination.path, timeout, transfer)
    return _read(remote, destination.names() + destination.settle(), None, timeout)


def _send_by_terminal(
    remote: Remote, file: BinaryIO, destination: _Destination, timeout: float | None
) -> str:
    script = f'umask 077\n{destination.names()}cat >"$part" || exit\n{destination.settle()}'
    return _read(remote, script, file.fileno(), timeout)


def _read(remote: Remote, script: str, stdin: int | None, timeout: float | None) -> str:
    code, out, err = remote.read(script, stdin=stdin, timeout=timeout)
    if code != 0:
        raise SshError((err + out).strip() or f"the host's command failed: {code}")
    return out


class _StoppedError(Exception):
    """Raised inside a transfer to stop it."""


def _by_sftp(
    remote: Remote,
    path: str,
    timeout: float | None,
    transfer: Callable[[paramiko.SFTPClient, _Progress], None],
) -> None:
    """Run a transfer in a thread, where Ctrl-C cannot hit it in the middle of a packet.

    Ctrl-C and the timeout let it clean up; if it does not, the connection is cut.
    """
    stop = Event()

    def progress(_done: int, _size: int) -> None:
        if stop.is_set():
            raise _StoppedError

    def run() -> None:
        with remote.client.open_sftp() as sftp:
            transfer(sftp, progress)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        try:
            _wait_for(running, timeout, stop)
        finally:
            if not running.done():
                remote.close()
    try:
        running.result()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise SshError(f"{path} on the host: {error}") from error


def _wait_for(running: Future[None], timeout: float | None, stop: Event) -> None:
    try:
        if not wait([running], timeout).done:
            raise CommandTimeoutError("the transfer timed out; nothing was changed")
    finally:
        stop.set()
        wait([running], _STOP_TIMEOUT_S)


def _is_directory(sftp: paramiko.SFTPClient, path: str) -> bool:
    try:
        return stat.S_ISDIR(sftp.stat(path).st_mode or 0)
    except FileNotFoundError:
        return False


def _receive_by_sftp(remote: Remote, path: str, file: BinaryIO, timeout: float | None) -> str:
    def transfer(sftp: paramiko.SFTPClient, progress: _Progress) -> None:
        sftp.getfo(path, file, progress)

    _by_sftp(remote, path, timeout, transfer)
    return _read(remote, f"sha256sum <{shlex.quote(path)} | cut -c1-64", None, timeout).strip()


def _receive_by_terminal(remote: Remote, path: str, file: BinaryIO, timeout: float | None) -> str:
    quoted = shlex.quote(path)
    decoder = _Decoder(file)
    code = remote.run(
        f"[ -f {quoted} ] && [ -r {quoted} ] ||"
        " { echo 'no such file, or not readable'; exit 1; }\n"
        f"sha256sum <{quoted} | cut -c1-64\nbase64 <{quoted}\n",
        stdout=decoder.feed,
        stderr=decoder.feed,
        timeout=timeout,
    )
    if code != 0:
        raise SshError(f"{path} on the host: {decoder.first_line or code}")
    return decoder.first_line


@dataclass(eq=False)
class _Decoder:
    """Decode a first line of text, then base64 in lines of any length."""

    file: BinaryIO
    first_line: str = ""
    in_body: bool = False
    rest: bytes = b""

    def feed(self, data: bytes) -> None:
        self.rest += data
        if not self.in_body:
            line, end, rest = self.rest.partition(b"\n")
            if not end:
                return
            self.first_line, self.rest, self.in_body = line.decode("utf-8", "replace"), rest, True
        text = self.rest.replace(b"\n", b"").replace(b"\r", b"")
        whole = len(text) // 4 * 4
        self.rest = text[whole:]
        try:
            self.file.write(base64.b64decode(text[:whole], validate=True))
        except binascii.Error as error:
            raise ProtocolError(f"the file arrived damaged: {error}; nothing was kept") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` if the block succeeds."""
    if not path.parent.is_dir():
        raise UsageError(f"there is no directory {path.parent}")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("w+b") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
