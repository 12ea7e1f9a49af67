"""`deploy`: turn the committed tree into a release on the host and put it in use."""

import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import BinaryIO

from infra.ssh.commands.transfer import sha256
from infra.ssh.errors import ConnectionLostError, UsageError
from infra.ssh.session import Outcome, Session

_INFRA = Path(__file__).resolve().parents[2]


def deploy(session: Session) -> Outcome:
    """Run `deploy [--check | --rollback [RELEASE]] [--adopt] [--source DIR]`."""
    options = session.options
    if options.rollback is not None:
        return _run(session, "rollback", release=options.rollback)
    checkout = _checkout(options.source)
    commit = _git(checkout, "rev-parse", "--verify", "HEAD^{commit}")
    if _git(checkout, "status", "--porcelain", "-uno"):
        session.console.say("warning: uncommitted changes are not deployed")
    if options.check:
        return _run(session, "check", release=commit)
    with tempfile.TemporaryFile() as archive:
        _git(checkout, "archive", "--format=tar.gz", commit, stdout=archive)
        digest = sha256(archive)
        return _run(session, "deploy", release=commit, digest=digest, archive=archive)


def _checkout(source: str | None) -> Path:
    """Find the checkout at `source`, by default this program's, else the current folder's."""
    own = _INFRA.parent
    start = Path(source) if source else own if (own / ".git").exists() else Path.cwd()
    return Path(_git(start, "rev-parse", "--show-toplevel"))


def _git(folder: Path, *arguments: str, stdout: BinaryIO | int = subprocess.PIPE) -> str:
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
    return (done.stdout or b"").decode().strip()


def _run(
    session: Session, action: str, release: str, digest: str = "", archive: BinaryIO | None = None
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
    try:
        return session.run("\n".join(lines), stdin=stdin, release=release)
    except ConnectionLostError as error:
        raise ConnectionLostError(
            f"{error}. See what became of it: easel-ssh --target {target.name} deploy --check"
        ) from error
