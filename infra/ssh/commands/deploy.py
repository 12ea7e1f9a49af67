"""`deploy`: turn the committed tree into a release on the host and put it in use."""

import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from infra.ssh.commands.transfer import sha256
from infra.ssh.errors import UsageError
from infra.ssh.session import Outcome, Session

_INFRA = Path(__file__).resolve().parents[2]


def deploy(session: Session) -> Outcome:
    """Run `deploy [--check | --rollback [RELEASE]] [--adopt] [--source DIR]`."""
    options = session.options
    if options.rollback is not None:
        return _run(session, "rollback", release=options.rollback)
    checkout = _checkout(options.source)
    if checkout.changed:
        session.console.say("warning: uncommitted changes are not deployed")
    if options.check:
        return _run(session, "check", release=checkout.commit)
    with tempfile.TemporaryFile() as archive:
        digest = checkout.pack(archive)
        return _run(session, "deploy", release=checkout.commit, digest=digest, archive=archive)


@dataclass(frozen=True)
class _Checkout:
    folder: Path
    commit: str
    changed: bool

    def pack(self, archive: BinaryIO) -> str:
        """Write the committed files as tar.gz, rewind, and return the SHA-256."""
        _call_git(self.folder, "archive", "--format=tar.gz", self.commit, stdout=archive)
        return sha256(archive)


def _checkout(source: str | None) -> _Checkout:
    """Find the checkout at `source`, by default this program's, else the current folder's."""
    own = _INFRA.parent
    start = Path(source) if source else own if (own / ".git").exists() else Path.cwd()
    top = _git(start, "rev-parse", "--show-toplevel")
    commit = _git(start, "rev-parse", "--verify", "HEAD^{commit}")
    return _Checkout(Path(top), commit, bool(_git(start, "status", "--porcelain", "-uno")))


def _git(folder: Path, *arguments: str) -> str:
    return _call_git(folder, *arguments).decode().strip()


def _call_git(folder: Path, *arguments: str, stdout: BinaryIO | int = subprocess.PIPE) -> bytes:
    program = shutil.which("git")
    if program is None:
        raise UsageError("deploy needs git on this machine")
    command = [program, "-C", str(folder), *arguments]
    done = subprocess.run(  # noqa: S603 - fixed arguments and commit ids
        command, check=False, stdout=stdout, stderr=subprocess.PIPE
    )
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise UsageError(f"{folder} has no commit to deploy: {' '.join(reason)}")
    return done.stdout or b""


def _run(
    session: Session,
    action: str,
    *,
    release: str,
    digest: str = "",
    archive: BinaryIO | None = None,
) -> Outcome:
    target = session.target
    values = {
        "ACTION": action,
        "WORKDIR": target.workdir,
        "RELEASE": release,
        "DIGEST": digest,
        "KEEP": str(target.keep_releases),
        "ADOPT": "yes" if session.options.adopt else "",
    }
    lines = [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    lines.append(f"SHARED=({shlex.join(target.shared)})")
    lines.append(_INFRA.joinpath("remote_deploy.sh").read_text("utf-8"))
    stdin = None if archive is None else archive.fileno()
    return session.run("\n".join(lines), stdin=stdin, release=release)
