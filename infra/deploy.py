"""`deploy`: the committed tree becomes a release on the host, and the one in use."""

import hashlib
import shlex
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from infra.errors import UsageError
from infra.session import Outcome, Session

_HERE = Path(__file__).resolve().parent


def deploy(session: Session) -> Outcome:
    """`deploy [--check | --rollback [RELEASE]] [--adopt] [--source DIR]`."""
    options = session.options
    if options.rollback is not None:
        return _run(session, "rollback", release=options.rollback)
    tree = _tree(options.source)
    if tree.changed:
        session.console.say("warning: uncommitted changes are not deployed")
    if options.check:
        return _run(session, "check", release=tree.commit)
    with tempfile.TemporaryFile() as archive:
        digest = tree.pack(archive)
        return _run(session, "deploy", release=tree.commit, digest=digest, archive=archive)


@dataclass(frozen=True)
class _Tree:
    """The commit that is checked out in a folder."""

    folder: Path
    commit: str
    changed: bool

    def pack(self, archive: IO[bytes]) -> str:
        """Writes the tracked files as tar.gz, rewinds, and returns the SHA-256."""
        command = ["git", "-C", self.folder, "archive", "--format=tar.gz", self.commit]
        subprocess.run(command, check=True, stdout=archive)
        archive.seek(0)
        digest = hashlib.file_digest(archive, "sha256").hexdigest()
        archive.seek(0)
        return digest


def _tree(source: str | None) -> _Tree:
    """The checkout at `source`; by default that of this program, else the current folder's."""
    own = _HERE.parent
    start = Path(source) if source else own if (own / ".git").exists() else Path.cwd()
    top = _git(start, "rev-parse", "--show-toplevel")
    commit = _git(start, "rev-parse", "--verify", "HEAD^{commit}")
    return _Tree(Path(top), commit, bool(_git(start, "status", "--porcelain", "-uno")))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise UsageError("deploy needs git on this machine") from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1:] or ["git failed"]
        raise UsageError(f"{folder} has no commit to deploy: {reason[0]}") from error
    return done.stdout.strip()


def _run(
    session: Session,
    action: str,
    *,
    release: str,
    digest: str = "",
    archive: IO[bytes] | None = None,
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
    lines.append(_HERE.joinpath("remote_deploy.sh").read_text("utf-8"))
    with session.connect() as remote, session.console.output() as output:
        code = remote.run(
            "\n".join(lines),
            stdin=None if archive is None else archive.fileno(),
            stdout=output.stdout,
            stderr=output.stderr,
            timeout=session.options.timeout,
        )
    return Outcome(code, {"via": remote.route.via, "release": release, **output.fields()})
