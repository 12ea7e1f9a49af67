"""What a rented pod forgets when it is reset, kept on its volume.

The container's disk is cleared by every stop; only `/workspace` stays. Without its SSH host keys
a pod looks like another machine each time. Use this start command for the pod; SSH then works even
when Easel does not start:

    bash -c '/workspace/easel/startup.sh || echo "startup failed: $?"; exec /start.sh'
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from infra.supervisor.host import Host, HostError
from infra.supervisor.processes import command_of, read_pid

_KEYS = "ssh_host_*_key"


def keep_host_keys(host: Host) -> None:
    """On a pod and as root, bring the kept host keys back, or keep the present ones."""
    if host.pod_dir is not None and os.geteuid() == 0:
        sync_host_keys(Path("/etc/ssh"), host.pod_dir / ".ssh_host")


def sync_host_keys(system: Path, kept: Path) -> bool:
    """Give `system` the keys in `kept`, which takes those of `system` (made if none) when empty.

    Makes a running sshd read changed keys. Returns whether a key of `system` was replaced.
    """
    try:
        if not any(kept.glob(_KEYS)):
            kept.mkdir(mode=0o700, parents=True, exist_ok=True)
            if system.is_dir() and not any(system.glob(_KEYS)):
                _make_key(system / "ssh_host_ed25519_key")
            _copy_keys(system, kept)
            return False
        changed = system.is_dir() and _copy_keys(kept, system)
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(f"The SSH host keys cannot be kept in {kept}: {error}.") from error
    pid = read_pid(Path("/run/sshd.pid")) if changed else None
    if pid is not None and "sshd" in " ".join(command_of(pid)):
        os.kill(pid, signal.SIGHUP)
    return changed


def _copy_keys(source: Path, target: Path) -> bool:
    changed = False
    for key in (path for kind in (_KEYS, f"{_KEYS}.pub") for path in source.glob(kind)):
        copy = target / key.name
        if copy.exists() and copy.read_bytes() == key.read_bytes():
            continue
        fresh = copy.with_name(f"{copy.name}.new")
        fresh.touch(mode=0o600)
        fresh.chmod(0o600)
        fresh.write_bytes(key.read_bytes())
        fresh.replace(copy)
        changed = True
    return changed


def _make_key(path: Path) -> None:
    if keygen := shutil.which("ssh-keygen"):
        argv = (keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(path))
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
