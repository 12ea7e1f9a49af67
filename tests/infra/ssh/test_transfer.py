import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.infra.ssh import sshd
from tests.infra.ssh.conftest import PROGRAM, Pod
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


def test_settings_are_for_their_owner_alone_on_the_host(pod: Pod) -> None:
    source = pod.folder / ".env"
    source.write_text("BOT_TOKEN=\n")
    source.chmod(0o644)
    (pod.folder / "there").mkdir()
    for destination in (pod.folder / "there", pod.folder / "there" / "backend.env"):
        assert pod.run("push", str(source), str(destination)).returncode == 0
    assert (pod.folder / "there" / ".env").stat().st_mode & 0o777 == 0o600
    assert (pod.folder / "there" / "backend.env").stat().st_mode & 0o777 == 0o644


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
    with (pod.folder / "large").open("wb") as file:
        file.truncate(10**12)
    done = pod.run("--timeout", "2", "pull", str(pod.folder / "large"), str(pod.folder / "here"))
    assert done.returncode == 124
    assert not list(pod.folder.glob("*here*"))


def test_files_pass_a_host_whose_shell_talks_that_has_no_sftp_and_allows_one_session(
    pod: Pod, start_sshd: Callable[..., sshd.Sshd]
) -> None:
    assert pod.direct is not None
    forced = 'ForceCommand echo welcome; eval "$SSH_ORIGINAL_COMMAND"'
    server = start_sshd("odd", pod.direct.user_key, options=("MaxSessions 1", forced))
    (server.folder / ".bashrc").write_text("echo good morning; echo and an error >&2\n")
    pod.direct = server
    pod.gateway = None
    pod.write()
    source, there, back = (pod.folder / name for name in ("source", "there", "back"))
    source.write_bytes(os.urandom(300_000))
    assert pod.run("push", str(source), str(there)).returncode == 0
    assert pod.run("pull", str(there), str(back)).returncode == 0
    assert back.read_bytes() == source.read_bytes()
    checks = json.loads(pod.run("doctor", "--json").stdout)["targets"][0]["checks"]
    (sftp,) = (check for check in checks if check["name"] == "direct sftp")
    assert sftp["state"] == "warn"
    assert "push and pull do not need it" in sftp["detail"]


def test_a_push_that_is_cut_exits_255_says_what_to_do_and_leaves_nothing(pod: Pod) -> None:
    source, folder = pod.folder / "source", pod.folder / "folder"
    folder.mkdir()
    with source.open("wb") as file:
        file.truncate(500_000_000)
    assert pod.direct is not None
    process = pod.popen("push", str(source), str(folder))
    assert eventually(lambda: [part.stat().st_size > 0 for part in folder.iterdir()] == [True])
    pod.direct.hang_up()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 255
    assert b"Push it again" in err
    assert eventually(lambda: list(folder.iterdir()) == [])


def test_a_push_removes_what_a_broken_one_left_and_nothing_else(pod: Pod, via: str) -> None:
    source, folder = pod.folder / "source", pod.folder / "folder"
    folder.mkdir()
    source.write_bytes(b"x")
    left, held, other = (
        folder / name for name in ("a.part-0123abcd", "a.part-4567abcd", "b.part-0123abcd")
    )
    for file in (left, held, other):
        file.touch()
    with held.open("rb") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        assert pod.run("--via", via, "push", str(source), str(folder / "a")).returncode == 0
    assert set(folder.iterdir()) == {folder / "a", held, other}


def test_a_missing_folder_and_a_folder_as_source_are_named_with_the_way_out(
    pod: Pod, via: str
) -> None:
    source, folder = pod.folder / "source", pod.folder / "folder"
    source.touch()
    folder.mkdir()
    for arguments, code, said in (
        (("push", str(source), str(folder / "none" / "x")), 1, f"there is no folder {folder}/none"),
        (("push", str(source), str(folder / "none" / "x")), 1, f"exec -- mkdir -p {folder}/none"),
        (("push", str(folder), str(pod.folder / "x")), 2, "easel-ssh exec -- tar -xC"),
        (("pull", str(folder), str(pod.folder / "x")), 1, "easel-ssh exec --raw -- tar -cC"),
        (("pull", str(folder / "none"), str(pod.folder / "x")), 1, f"no file {folder}/none"),
        (("pull", str(source), str(folder / "none" / "x")), 2, f"no folder {folder}/none here"),
    ):
        done = pod.run("--via", via, *arguments)
        assert (done.returncode, said in done.stderr.decode()) == (code, True), done.stderr


def test_progress_is_shown_as_lines_and_on_a_terminal_as_one(pod: Pod) -> None:
    source, there = pod.folder / "source", pod.folder / "there"
    with source.open("wb") as file:
        file.truncate(70_000_000)
    done = pod.run("push", str(source), str(there))
    assert done.stderr.splitlines() == [b"source: 32 of 70 MB", b"source: 64 of 70 MB"]
    assert b"there: 64 of 70 MB" in pod.run("pull", str(there), str(pod.folder / "b")).stderr
    screen, stderr = os.openpty()
    command = [sys.executable, str(PROGRAM), "push", str(source), str(there)]
    with subprocess.Popen(command, env=pod.environ, stderr=stderr, stdout=subprocess.DEVNULL):
        os.close(stderr)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the program has ended
            while data := os.read(screen, 65536):
                shown += data
    os.close(screen)
    assert b"100 % of 70.0 MB" in shown
    assert b"\n" not in shown
