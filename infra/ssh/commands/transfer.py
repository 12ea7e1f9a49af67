"""`push` and `pull`: copy one file, verified by SHA-256, completely or not at all.

Files go through the same channel as commands, so they need no SFTP server, and nothing that a
shell prints when it starts can harm them.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from infra.ssh.connection.remote import Remote
from infra.ssh.errors import ConnectionLostError, ProtocolError, SshError, UsageError
from infra.ssh.session import Outcome, Session

# Receives a file under a temporary name, then gives it its own. The lock tells a transfer that
# still runs from what a broken one has left.
_RECEIVE = """
umask 077
path={path}; case $path in */) path=${{path%/}}/{name} ;; esac
[ ! -d "$path" ] || path=${{path%/}}/{name}
folder=$(dirname -- "$path")
fail() {{ echo "$1" >&2; exit 1; }}
[ -d "$folder" ] || fail "there is no folder $folder on it: easel-ssh exec -- mkdir -p $folder"
for old in "$path".part-????????; do
  [ ! -f "$old" ] || flock -n -- "$old" rm -f -- "$old"
done
part=$path.part-{suffix}
trap 'rm -f -- "$part"' EXIT
reason=$({{ : >"$part"; }} 2>&1) || fail "no file can be created in $folder: ${{reason##*: }}"
exec 9>"$part"
flock -n 9
cat >&9 || exit
if [ "$(sha256sum <"$part" | cut -c1-64)" != {digest} ]; then
  rm -f -- "$part"
  fail 'the file arrived damaged, or changed on its way (SHA-256 differs); nothing was replaced'
fi
mode={mode:o}; case ${{path##*/}} in .env) mode=600 ;; esac # it holds secrets
chmod "$mode" -- "$part" && mv -fT -- "$part" "$path" && printf %s "$path"
"""

# Prints digest and size on one line, then the file.
_SEND = """
path={path}
fail() {{ echo "$1" >&2; exit 1; }}
[ ! -d "$path" ] || fail "$path is a folder. "{folder_hint}
[ -e "$path" ] || fail "there is no file $path on the host"
[ -f "$path" ] && [ -r "$path" ] || fail "$path on the host is not a file that $(id -un) may read"
echo "$(sha256sum <"$path" | cut -c1-64) $(stat -Lc %s -- "$path")" || exit
exec {encoder} <"$path"
"""

_PUSH_FOLDER = (
    "push sends one file, because a folder cannot be replaced at once; to send a folder: "
    "tar -cC FOLDER . | easel-ssh exec -- tar -xC REMOTE_FOLDER"
)
_PULL_FOLDER = (
    "pull fetches one file, because a folder cannot be replaced at once; to fetch a folder: "
    "easel-ssh exec --raw -- tar -cC REMOTE_FOLDER . | tar -xC FOLDER"
)


def push(session: Session) -> Outcome:
    """Run `push FILE REMOTE_PATH`; into a folder, the file keeps its name."""
    source = Path(session.options.source)
    if source.is_dir():
        raise UsageError(f"{source} is a folder. {_PUSH_FOLDER}")
    if not source.is_file():
        raise UsageError(f"there is no file {source}")
    with source.open("rb", buffering=0) as file, session.connect() as remote:
        digest, size = sha256(file), source.stat().st_size
        script = _RECEIVE.format(
            path=shlex.quote(session.options.destination),
            name=shlex.quote(source.name),
            suffix=secrets.token_hex(4),
            digest=digest,
            mode=stat.S_IMODE(source.stat().st_mode),
        )
        path = _send(session, remote, script, file, size)
    session.console.line(f"{path}  {size} bytes  sha256 {digest}")
    return Outcome(0, _fields(remote, path, size, digest))


def pull(session: Session) -> Outcome:
    """Run `pull REMOTE_PATH [FILE]`; into a folder, the file keeps its name."""
    source = session.options.source
    path = Path(session.options.destination)
    if path.is_dir():
        path /= os.path.basename(source.rstrip("/"))  # noqa: PTH119 - a remote path
    with session.connect() as remote, _replacing(path) as file:
        expected = _receive(session, remote, source, file)
        digest = sha256(file)
        if digest != expected:
            raise ProtocolError(
                f"{source} arrived damaged, or changed on its way (SHA-256 differs); "
                "nothing was kept"
            )
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


def _send(session: Session, remote: Remote, script: str, file: BinaryIO, size: int) -> str:
    """Send the file and return the path it has on the host."""
    out, err = bytearray(), bytearray()
    descriptor = file.fileno()
    with session.console.progress(Path(session.options.source).name) as show:
        try:
            code = remote.run(
                script,
                stdin=descriptor,
                stdout=out.extend,
                stderr=err.extend,
                timeout=session.options.timeout,
                tick=lambda: show(os.lseek(descriptor, 0, os.SEEK_CUR), size),
            )
        except ConnectionLostError as error:
            raise ConnectionLostError(
                f"{error}. Push it again: that also removes what arrived of it"
            ) from error
    if code != 0:
        reason = (err + out).decode("utf-8", "replace").strip()
        raise SshError(reason or f"the host's command failed with exit status {code}")
    return out.decode("utf-8", "replace")


def _receive(session: Session, remote: Remote, path: str, file: BinaryIO) -> str:
    """Write the host's file to `file` and return its digest there."""
    through_terminal = remote.route.via == "proxy"
    script = _SEND.format(
        path=shlex.quote(path),
        folder_hint=shlex.quote(_PULL_FOLDER),
        encoder="base64" if through_terminal else "cat",
    )
    err = bytearray()
    arriving = _Arriving(file, encoded=through_terminal)
    with session.console.progress(Path(path).name) as show:
        code = remote.run(
            script,
            stdout=arriving.feed,
            stderr=err.extend,
            timeout=session.options.timeout,
            tick=lambda: show(arriving.received, arriving.size),
        )
    if code != 0:
        reason = err.decode("utf-8", "replace").strip() or arriving.first_line
        raise SshError(reason or f"the host's command failed with exit status {code}")
    return arriving.digest


@dataclass(eq=False)
class _Arriving:
    """A first line with digest and size, then the file, in lines of base64 if `encoded`."""

    file: BinaryIO
    encoded: bool
    first_line: str = ""
    digest: str = ""
    size: int = 0
    received: int = 0
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        self._rest += data
        if not self.digest and not self._begin():
            return
        body, self._rest = self._rest, b""
        if self.encoded:
            body = self._decode(body)
        self.file.write(body)
        self.received += len(body)

    def _begin(self) -> bool:
        line, end, rest = self._rest.partition(b"\n")
        self.first_line = line.decode("utf-8", "replace").strip()
        digest, _, size = self.first_line.partition(" ")
        if not end or not size.isdecimal():  # or an error, if it comes through a terminal
            return False
        self.digest, self.size, self._rest = digest, int(size), rest
        return True

    def _decode(self, body: bytes) -> bytes:
        text = body.replace(b"\n", b"").replace(b"\r", b"")
        whole = len(text) // 4 * 4
        self._rest = text[whole:]
        try:
            return base64.b64decode(text[:whole], validate=True)
        except binascii.Error as error:
            raise ProtocolError(f"the file arrived damaged: {error}; nothing was kept") from error


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` if the block succeeds."""
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} here")
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("w+b") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
