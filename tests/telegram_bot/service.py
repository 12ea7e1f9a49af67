"""One process of Easel under test."""

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.services import ROOT, clean_environment, until


@dataclass
class Service:
    """A process of Easel: started, killed and started again under the same settings."""

    name: str
    module: str
    folder: Path
    env: dict[str, str]
    arguments: tuple[str, ...] = ()
    ready_url: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        return self.folder / f"{self.name}.log"

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""

    def start(self) -> None:
        with self.log_file.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                cwd=ROOT,
                env=clean_environment() | self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Let it exist and answer nobody until `thaw`."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> int:
        """End it with SIGTERM; return the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process = None
        return code

    def has_ended(self) -> bool:
        return self.process is None or self.process.poll() is not None

    def wait_ready(self) -> None:
        until(self._answers, f"{self.name} is ready: {self.log()[-2000:]}")

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"{self.name} has ended: {self.log()[-3000:]}")
        try:
            return httpx.get(self.ready_url, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False
