"""Environments in which real clients are installed, once for each pinned version, and run.

A client's program is run as its user runs it: it sees its own packages, the address, the key and
a photo, and nothing of Easel.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CACHE = HERE.parents[1] / ".cache" / "clients"
PROGRAMS = HERE / "programs"
OLDEST_NODE = 20
_INSTALL_S = 200
_RUN_S = 100
_PIP = ("install", "--quiet", "--no-compile", "--timeout", "10", "--retries", "1")
_NPM = ("install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock")
_NPM_PATIENCE = ("--loglevel=error", "--fetch-retries=1", "--fetch-timeout=10000")


class NotInstalled(Exception):
    """The client cannot be installed here; says why."""


class Broken(Exception):
    """A client's program did not come to its end; says what it wrote last."""


@dataclass(frozen=True)
class Client:
    """A client by its name in `clients.toml`, with the requirements pinned there."""

    name: str
    installer: str
    requirements: tuple[str, ...]
    cache: Path = CACHE

    @property
    def folder(self) -> Path:
        text = json.dumps([self.installer, self.requirements, sys.version_info[:2]])
        return self.cache / f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def install(self) -> None:
        """Install it unless it is; only one process at a time does. Raises NotInstalled."""
        if self.installer == "npm":
            _require_node()
        done = self.folder / "installed"
        if done.exists():
            return
        self.cache.mkdir(parents=True, exist_ok=True)
        with (self.cache / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                self._remove_all()
                self._install_afresh()
                done.touch()

    def _remove_all(self) -> None:
        for folder in self.cache.glob(f"{self.name}-????????????"):
            shutil.rmtree(folder)

    def _install_afresh(self) -> None:
        if self.installer == "pip":
            _installed(sys.executable, "-m", "venv", "--without-pip", str(self.folder))
            pip = (sys.executable, "-m", "pip", "--python", str(self.folder / "bin" / "python"))
            _installed(*pip, *_PIP, *self.requirements)
        else:
            self.folder.mkdir()
            (self.folder / "package.json").write_text('{"private": true}', "utf-8")
            npm = ("npm", "--prefix", str(self.folder))
            _installed(*npm, *_NPM, *_NPM_PATIENCE, *self.requirements)

    def run(self, environment: Mapping[str, str], scratch: Path) -> dict[str, Any]:
        """Run its program; return what each of the program's steps reported. Raises Broken."""
        name = f"with_{self.name.replace('-', '_')}"
        if self.installer == "pip":
            program = PROGRAMS / f"{name}.py"
            command = [str(self.folder / "bin" / "python"), str(program)]
        else:  # from standard input, as imports are then looked up in the working folder
            program = PROGRAMS / f"{name}.mjs"
            command = ["node", "--import", str(PROGRAMS / "report.mjs"), "--input-type=module"]
        inherited = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        report = scratch / "report.json"
        try:
            done = subprocess.run(
                command,
                cwd=scratch if self.installer == "pip" else self.folder,
                env={**inherited, **environment, "REPORT": str(report)},
                input=program.read_text("utf-8"),
                capture_output=True,
                text=True,
                timeout=_RUN_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Broken(str(error)) from error
        if done.returncode:
            raise Broken(done.stderr[-3000:])
        reported: dict[str, Any] = json.loads(report.read_text("utf-8"))
        return reported


def pinned() -> dict[str, Client]:
    """Return the clients of `clients.toml` by name."""
    tables = tomllib.loads((HERE / "clients.toml").read_text("utf-8"))
    found = {}
    for name, table in tables.items():
        installer = "npm" if "npm" in table else "pip"
        found[name] = Client(name, installer, (*table[installer], *table.get("besides", ())))
    return found


def _installed(*command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise NotInstalled(" ".join(lines or done.stderr.splitlines())[-400:])


def _require_node() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotInstalled(f"{program} is not installed")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    major = int(version.stdout.lstrip("v").partition(".")[0])
    if major < OLDEST_NODE:
        raise NotInstalled(f"Node {major} is installed; {OLDEST_NODE} or newer is needed")
