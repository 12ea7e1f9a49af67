"""Real OpenSSH servers on loopback: ordinary ones, and gateways that offer only a terminal."""

import contextlib
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"

_GATEWAY_SHELL = """#!/bin/bash
# behaves as RunPod's gateway: without a terminal, no command runs and the exit status is 0
if [ -z "${SSH_TTY:-}" ]; then echo "Error: Your SSH client doesn't support PTY"; exit 0; fi
printf '\\n-- RUNPOD.IO --\\nEnjoy your Pod #abc123xyz ^_^\\n\\n'
unset SSH_ORIGINAL_COMMAND
exec /bin/bash --norc -i
"""


def missing() -> str | None:
    """Return why no server can be started here, or None."""
    if not Path(SSHD).exists():
        return "sshd is not installed (Debian: openssh-server)"
    if os.geteuid() != 0:
        return None
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    return None


def new_key(path: Path) -> Path:
    """Create an ed25519 key pair without a passphrase."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True
    )
    return path


def fingerprint(public: Path) -> str:
    """Return SHA256:… as `ssh-keygen -l` prints it."""
    listed = subprocess.run(["ssh-keygen", "-lf", public], check=True, capture_output=True)
    return listed.stdout.split()[1].decode()


@dataclass
class Sshd:
    """A server with its files in `folder`; `user_key` may log in as `user`."""

    folder: Path
    user_key: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def host_key(self) -> Path:
        return self.folder / "host_key"

    @property
    def user(self) -> str:
        return getpass.getuser()

    @property
    def known_hosts_line(self) -> str:
        kind, key = self.host_key.with_suffix(".pub").read_text().split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"

    def serving(self) -> list[int]:
        """Return the processes that serve connections; for an ordinary user, two each."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
        parents = {pid: _parent_of_sshd(pid) for pid in pids}
        family = [self.process.pid]
        for known in family:
            family += [pid for pid, parent in parents.items() if parent == known]
        return family[1:]

    def hang_up(self) -> int:
        """Kill the processes that serve connections, and return how many there were."""
        served = self.serving()
        for pid in served:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(served)

    def stop(self) -> None:
        self.hang_up()
        self.process.terminate()
        self.process.wait(10)


def _parent_of_sshd(pid: int) -> int | None:
    """Return the parent of a process if it is an sshd, else None."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return int(rest.split()[1]) if name.startswith("sshd") else None


def start(
    folder: Path,
    user_key: Path,
    *,
    gateway: bool,
    port: int = 0,
    environment: str = "",
    options: Sequence[str] = ("Subsystem sftp internal-sftp",),
) -> Sshd:
    """Start a server and wait until it accepts connections.

    Its sessions get `environment`, as in "A=b C=d"; `options` are further lines of an ordinary
    server's configuration.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "host_key").exists():
        new_key(folder / "host_key")
    port = port or free_port()
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        f"HostKey {folder}/host_key",
        "PidFile none",
        f"AuthorizedKeysFile {user_key}.pub",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "PermitRootLogin prohibit-password",
        "PrintMotd no",
        "PrintLastLog no",
        "MaxStartups 100",
        "LogLevel VERBOSE",
        # a separate home, so that the user's own shell start-up files do not run
        f"SetEnv HOME={folder} {environment}",
    ]
    if gateway:
        shell = folder / "gateway_shell"
        shell.write_text(_GATEWAY_SHELL)
        shell.chmod(0o755)
        lines += ["DisableForwarding yes", "PermitTTY yes", f"ForceCommand {shell}"]
    else:
        lines += ["AllowTcpForwarding yes", *options]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [SSHD, "-D", "-f", folder / "sshd_config", "-E", folder / "sshd.log"],
        stdin=subprocess.DEVNULL,
    )
    server = Sshd(folder, user_key, port, process)
    _await_banner(server)
    return server


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _await_banner(server: Sshd) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", server.port), 5) as sock:
                if sock.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"sshd did not start: {(server.folder / 'sshd.log').read_text()}")


@functools.cache
def _terminals(port: int, user_key: Path, user: str) -> bool:
    options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    done = subprocess.run(
        ["ssh", "-tt", *options, "-i", user_key, "-p", str(port), f"{user}@127.0.0.1"],
        input=b"exit\n",
        check=False,
        capture_output=True,
        timeout=30,
    )
    return b"RUNPOD.IO" in done.stdout


def gives_terminals(server: Sshd) -> bool:
    """Return whether sshd on this machine gives this user a PTY."""
    return _terminals(server.port, server.user_key, server.user)
