import hashlib
import json
import os
import signal

import pytest

from tests.infra.ssh.conftest import Pod
from tests.infra.ssh.waiting import eventually


def test_a_large_file_arrives_whole_and_comes_back(pod: Pod, via: str) -> None:
    blob = os.urandom(20_000_000)
    source, there, back = (pod.folder / name for name in ("source", "there", "back"))
    source.write_bytes(blob)
    source.chmod(0o640)
    pushed = pod.run("--via", via, "--json", "push", str(source), str(there))
    assert pushed.returncode == 0
    assert there.read_bytes() == blob
    assert there.stat().st_mode & 0o777 == 0o640
    entry = json.loads(pushed.stdout)["targets"][0]
    assert (entry["bytes"], entry["sha256"]) == (len(blob), hashlib.sha256(blob).hexdigest())
    pulled = pod.run("--via", via, "pull", str(there), str(back))
    assert pulled.returncode == 0
    assert back.read_bytes() == blob


def test_names_with_spaces_and_quotes_and_empty_files_work(pod: Pod, via: str) -> None:
    source = pod.folder / "it's $(a) name"
    source.write_bytes(b"")
    folder = pod.folder / "a 'folder'"
    folder.mkdir()
    assert pod.run("--via", via, "push", str(source), str(folder)).returncode == 0
    assert (folder / source.name).read_bytes() == b""
    source.unlink()
    done = pod.run("--via", via, "pull", str(folder / source.name), str(pod.folder))
    assert done.returncode == 0
    assert source.exists()


def test_a_failed_transfer_leaves_nothing_behind(pod: Pod, via: str) -> None:
    source, folder = pod.folder / "source", pod.folder / "folder"
    source.write_bytes(b"x" * 100)
    folder.mkdir()
    missing = str(folder / "missing" / "x")
    for arguments in (("push", str(source), missing), ("pull", missing, str(folder / "here"))):
        done = pod.run("--via", via, *arguments)
        assert done.returncode == 1
        assert b"missing" in done.stderr
        assert b"Traceback" not in done.stderr
    assert list(folder.iterdir()) == []


def test_an_existing_file_is_replaced_at_once(pod: Pod, via: str) -> None:
    source, there = pod.folder / "source", pod.folder / "there"
    source.write_bytes(b"new")
    there.write_bytes(b"old, and longer")
    held = there.open("rb")
    assert pod.run("--via", via, "push", str(source), str(there)).returncode == 0
    with held:
        assert held.read() == b"old, and longer"
    assert there.read_bytes() == b"new"


def test_an_interrupted_push_leaves_nothing_behind_and_shows_nobody_its_part(
    pod: Pod, via: str
) -> None:
    source, folder = pod.folder / "source", pod.folder / "folder"
    folder.mkdir()
    with source.open("wb") as file:
        file.truncate(500_000_000)
    process = pod.popen("--via", via, "push", str(source), str(folder))
    assert eventually(lambda: [part.stat().st_size > 0 for part in folder.iterdir()] == [True])
    (part,) = folder.iterdir()
    assert part.stat().st_mode & 0o777 == 0o600
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert eventually(lambda: list(folder.iterdir()) == [])


@pytest.mark.parametrize("limit", [(), ("--timeout", "2")])
def test_a_stalled_transfer_can_be_ended(pod: Pod, limit: tuple[str, ...]) -> None:
    source, folder = pod.folder / "source", pod.folder / "folder"
    folder.mkdir()
    with source.open("wb") as file:
        file.truncate(500_000_000)
    assert pod.direct is not None
    process = pod.popen(*limit, "push", str(source), str(folder))
    assert eventually(lambda: [part.stat().st_size > 0 for part in folder.iterdir()] == [True])
    for pid in pod.direct.serving():
        os.kill(pid, signal.SIGSTOP)
    if not limit:
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    pod.direct.hang_up()
    assert process.returncode == (124 if limit else 130)


def test_a_timeout_ends_a_transfer(pod: Pod) -> None:
    done = pod.run("--timeout", "2", "pull", "/dev/zero", str(pod.folder / "zeros"))
    assert done.returncode == 124
    assert not list(pod.folder.glob("*zeros*"))
