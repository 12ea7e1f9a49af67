"""`doctor`: everything between here and a working host, checked step by step."""

import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from infra.ssh.connection import hostkeys
from infra.ssh.connection.remote import CONNECT_SECONDS, Remote, load_key, login, loose_permissions
from infra.ssh.errors import UNHEALTHY, SshError
from infra.ssh.session import Outcome, Session
from infra.ssh.targets import Route, Target

_CLOCK_SECONDS = 30
_DISK_PERCENT = 90

# One `name<TAB>value` per line; what a host lacks is an empty value.
_PROBE = """
say() { printf '%s\\t%s\\n' "$1" "$2"; }
cd -- {workdir} 2>/dev/null && found=yes || found=
say workdir "$found"
say startup "$([ -x ./startup.sh ] && echo yes)"
say user "$(id -un)"
for tool in tar gzip sha256sum base64 flock git; do
  say "$tool" "$(command -v "$tool")"
done
for python in python3.13 python3.12 python3.11 python3.14 python3; do # as startup.sh looks for it
  version=$("$python" -c 'import sys, venv, ensurepip; print("%d.%d.%d" % sys.version_info[:3])' \
    2>/dev/null) && break
done
say python "$version"
say clock "$(date +%s)"
say disk "$(df -P . | awk 'NR==2 {print $5}')"
say gpu "$(nvidia-smi --query-gpu=name,memory.used,memory.total --format=csv,noheader 2>/dev/null)"
"""


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str


def doctor(session: Session) -> Outcome:
    """`doctor`: exit 3 when something is wrong."""
    checks: list[Check] = []
    for route in session.target.routes(session.options.via):
        for check in _route_checks(session, route):
            session.console.line(f"{check.state:5} {check.name:22} {check.detail}")
            checks.append(check)
    failed = any(check.state == "fail" for check in checks)
    return Outcome(UNHEALTHY if failed else 0, {"checks": [asdict(check) for check in checks]})


def _route_checks(session: Session, route: Route) -> Iterator[Check]:
    try:
        yield _key_file(route)
        yield _known(session.target, route)
        timeout = min(CONNECT_SECONDS, session.options.timeout or CONNECT_SECONDS)
        began = time.monotonic()
        with Remote(login(session.target, route, timeout), route, timeout) as remote:
            took = (time.monotonic() - began) * 1000
            yield Check(f"{route.via} login", "ok", f"{route} in {took:.0f} ms")
            probe = _PROBE.replace("{workdir}", shlex.quote(session.target.workdir))
            _, out, _ = remote.read(probe, timeout=timeout)
            yield Check(f"{route.via} exec", "ok", "commands run, their exit status comes back")
    except SshError as error:
        yield Check(f"{route.via} {error.code}", "fail", str(error))
        return
    yield from _host_checks(route, session.target, _values(out))


def _key_file(route: Route) -> Check:
    name = f"{route.via} key"
    if route.key is None:
        agent = bool(os.environ.get("SSH_AUTH_SOCK"))
        detail = "from ssh-agent" if agent else 'no "key" configured and no ssh-agent running'
        return Check(name, "ok" if agent else "fail", detail)
    if (loose := loose_permissions(route)) is not None:
        return Check(name, "fail", loose)
    key = load_key(route)
    return Check(name, "ok", f"{route.key} {key.fingerprint if key else ''}")


def _known(target: Target, route: Route) -> Check:
    known = ", ".join(hostkeys.known_fingerprints(target, route))
    return Check(f"{route.via} known host", "ok" if known else "warn", known or "not trusted yet")


def _values(out: str) -> dict[str, str]:
    return dict(line.split("\t", 1) for line in out.splitlines() if "\t" in line)


def _host_checks(route: Route, target: Target, seen: dict[str, str]) -> Iterator[Check]:
    def host(name: str, good: object, detail: str, bad: Literal["warn", "fail"]) -> Check:
        return Check(f"{route.via} {name}", "ok" if good else bad, detail)

    missing = [t for t in ("tar", "gzip", "sha256sum", "base64", "flock") if not seen.get(t)]
    yield host("user", seen.get("user"), seen.get("user", "unknown"), "fail")
    yield host("tools", not missing, f"missing: {', '.join(missing)}" if missing else "all", "fail")
    python = seen.get("python") or "0"
    recent = tuple(int(part) for part in python.split(".")[:2]) >= (3, 11)
    yield host("python", recent, f"{python}; needed: 3.11 or later, with venv", "fail")
    where = f"{target.workdir}{'' if seen.get('workdir') else ' does not exist: easel-ssh deploy'}"
    yield host("workdir", seen.get("workdir"), where, "fail")
    if seen.get("workdir"):
        started = "executable in workdir" if seen.get("startup") else "not executable in workdir"
        yield host("startup.sh", seen.get("startup"), started, "fail")
    ahead = int(seen.get("clock") or 0) - int(time.time())
    yield host("clock", abs(ahead) <= _CLOCK_SECONDS, f"{ahead:+d} s from ours", "warn")
    used = seen.get("disk", "").removesuffix("%")  # "-" where the file system has no size
    roomy = not used.isdecimal() or int(used) < _DISK_PERCENT
    yield host("disk", roomy, f"{used} % used" if used.isdecimal() else "size unknown", "warn")
    gpu = seen.get("gpu", "").replace("\n", "; ")
    yield host("gpu", gpu, gpu or "nvidia-smi finds none: pictures will be sketches", "warn")
