"""`doctor`: check everything between this machine and a working host, step by step."""

import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import paramiko

from infra.ssh.connection import hostkeys
from infra.ssh.connection.channel import reason
from infra.ssh.connection.keys import loose_permissions, offers
from infra.ssh.connection.login import login
from infra.ssh.connection.remote import Remote
from infra.ssh.errors import UNHEALTHY, SshError
from infra.ssh.routes import Route
from infra.ssh.session import Outcome, Session
from infra.ssh.targets import Target

_MAX_CLOCK_OFFSET_S = 30
_MAX_DISK_PERCENT = 90
_TOOLS = ("tar", "gzip", "sha256sum", "base64", "flock")

# Prints one `name<TAB>value` per line; the value is empty if the host lacks it.
_PROBE = """
say() { printf '%s\\t%s\\n' "$1" "$2"; }
cd -- {workdir} 2>/dev/null && workdir=yes || workdir=
say workdir "$workdir"
say startup "$([ -x ./startup.sh ] && echo yes)"
say user "$(id -un)"
for tool in {tools}; do
  say "$tool" "$(command -v "$tool")"
done
for python in python3.13 python3.12 python3.11 python3.14 python3; do # those startup.sh tries
  version=$("$python" -c 'import sys, venv, ensurepip; print("%d.%d.%d" % sys.version_info[:3])' \
    2>/dev/null) && break
done
say python "$version"
say clock "$(date +%s)"
say disk "$(df -P . | awk 'NR==2 {print $5}')"
say gpu "$(nvidia-smi --query-gpu=name,memory.used,memory.total --format=csv,noheader 2>/dev/null)"
"""


@dataclass(frozen=True)
class _Check:
    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str


def doctor(session: Session) -> Outcome:
    """Run `doctor`; the exit code is 3 if a check fails."""
    checks: list[_Check] = []
    for route in session.target.routes(session.options.via):
        for check in _route_checks(session, route):
            session.console.line(f"{check.state:5} {check.name:22} {check.detail}")
            checks.append(check)
    failed = any(check.state == "fail" for check in checks)
    return Outcome(UNHEALTHY if failed else 0, {"checks": [asdict(check) for check in checks]})


def _route_checks(session: Session, route: Route) -> Iterator[_Check]:
    try:
        yield _key_check(route)
        keys = ", ".join(hostkeys.known_fingerprints(session.target, route))
        state: Literal["ok", "warn"] = "ok" if keys else "warn"
        yield _Check(f"{route.via} known host", state, keys or "not trusted yet")
        timeout = session.connect_timeout
        start = time.monotonic()
        remote = Remote(login(session.target, route, timeout), route, timeout)
        with contextlib.closing(remote):
            elapsed_ms = (time.monotonic() - start) * 1000
            yield _Check(f"{route.via} login", "ok", f"{route} in {elapsed_ms:.0f} ms")
            probe = _PROBE.replace("{tools}", " ".join(_TOOLS))
            probe = probe.replace("{workdir}", shlex.quote(session.target.workdir))
            _, out, _ = remote.read(probe, timeout=timeout)
            yield _Check(f"{route.via} exec", "ok", "commands run, their exit status comes back")
            if route.via == "direct":
                yield _sftp_check(remote, timeout)
    except SshError as error:
        yield _Check(f"{route.via} {error.code}", "fail", str(error))
        return
    values = dict(line.split("\t", 1) for line in out.splitlines() if "\t" in line)
    yield from _host_checks(route, session.target, values)


def _sftp_check(remote: Remote, timeout: float) -> _Check:
    """Try SFTP, which other programs need."""
    try:
        with remote.open_channel() as channel:
            channel.settimeout(timeout)
            channel.invoke_subsystem("sftp")
            paramiko.SFTPClient(channel).close()
    except (SshError, paramiko.SSHException, paramiko.SFTPError, EOFError, OSError) as error:
        detail = f"{reason(error)}; push and pull do not need it, but scp and other programs do"
        return _Check("direct sftp", "warn", detail)
    return _Check("direct sftp", "ok", "answers")


def _key_check(route: Route) -> _Check:
    name = f"{route.via} key"
    problems = [problem for path in route.key_files if (problem := loose_permissions(path))]
    if problems:
        return _Check(name, "fail", "; ".join(problems))
    offered = offers(route)
    if route.key is None:
        return _Check(name, "ok", f"{len(offered)} of ssh-agent and ~/.ssh/config")
    return _Check(name, "ok", f"{route.key} {offered[0].fingerprint}")


def _host_checks(route: Route, target: Target, values: dict[str, str]) -> Iterator[_Check]:
    def check(name: str, good: object, detail: str, bad: Literal["warn", "fail"]) -> _Check:
        return _Check(f"{route.via} {name}", "ok" if good else bad, detail)

    missing = ", ".join(tool for tool in _TOOLS if not values.get(tool))
    yield check("user", values.get("user"), values.get("user", "unknown"), "fail")
    yield check("tools", not missing, f"missing: {missing}" if missing else "all", "fail")
    python = values.get("python") or "0"
    recent = tuple(int(part) for part in python.split(".")[:2]) >= (3, 11)
    yield check("python", recent, f"{python}; needed: 3.11 or later, with venv", "fail")
    problem = "" if values.get("workdir") else " does not exist: easel-ssh deploy"
    yield check("workdir", not problem, f"{target.workdir}{problem}", "fail")
    if not problem:
        state = "executable" if values.get("startup") else "not executable"
        yield check("startup.sh", values.get("startup"), f"{state} in workdir", "fail")
    offset_s = int(values.get("clock") or 0) - int(time.time())
    accurate = abs(offset_s) <= _MAX_CLOCK_OFFSET_S
    yield check("clock", accurate, f"{offset_s:+d} s from this machine's", "warn")
    used = values.get("disk", "").removesuffix("%")  # "-" if the file system has no size
    roomy = not used.isdecimal() or int(used) < _MAX_DISK_PERCENT
    yield check("disk", roomy, f"{used} % used" if used.isdecimal() else "size unknown", "warn")
    gpu = values.get("gpu", "").replace("\n", "; ")
    yield check("gpu", gpu, gpu or "nvidia-smi finds none: images will be sketches", "warn")
