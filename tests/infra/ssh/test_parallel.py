import json
import signal
import subprocess

import pytest

from tests.infra.ssh import sshd
from tests.infra.ssh.conftest import Pod
from tests.infra.ssh.waiting import eventually, is_running


@pytest.fixture
def fleet(pod: Pod) -> Pod:
    """Configure two targets, `one` and `two`, for the same host."""
    assert pod.direct is not None
    target: dict[str, object] = {"direct": pod.route(pod.direct), "workdir": str(pod.workdir)}
    pod.write(one=target, two=target)
    return pod


def test_each_line_names_its_target(fleet: Pod) -> None:
    done = fleet.run("--target", "all", "exec", "--shell", "echo hi; echo ho >&2")
    assert sorted(done.stdout.splitlines()) == [b"[one] hi", b"[two] hi"]
    assert sorted(done.stderr.splitlines()) == [b"[one] ho", b"[two] ho"]
    assert done.returncode == 0


def test_the_highest_exit_code_counts(fleet: Pod, servers: tuple[sshd.Sshd, sshd.Sshd]) -> None:
    route = fleet.route(servers[0])
    dead = {**route, "port": sshd.free_port()}
    fleet.write(one={"direct": route}, two={"direct": dead})
    done = fleet.run("-t", "one", "-t", "two", "--json", "exec", "--", "sh", "-c", "exit 4")
    assert done.returncode == 255
    document = json.loads(done.stdout)
    assert document["exit"] == 255
    assert {entry["target"]: entry["exit"] for entry in document["targets"]} == {
        "one": 4,
        "two": 255,
    }


def test_piped_input_reaches_every_target(fleet: Pod) -> None:
    done = fleet.run("-t", "all", "exec", "--", "cat", stdin=b"x\n" * 3)
    assert sorted(done.stdout.splitlines()) == [b"[one] x"] * 3 + [b"[two] x"] * 3


def test_an_interrupt_ends_the_command_everywhere(fleet: Pod) -> None:
    process = fleet.popen("-t", "all", "exec", "--shell", "echo $BASHPID; exec sleep 300")
    assert process.stdout is not None
    if process.stdin is not None:
        process.stdin.close()
        process.stdin = None
    pids = [int(process.stdout.readline().split()[1]) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert eventually(lambda: not any(is_running(pid) for pid in pids))


@pytest.mark.parametrize("command", ["shell", "tunnel"])
def test_what_needs_one_target_refuses_several(fleet: Pod, command: str) -> None:
    ports = ["0:80"] if command == "tunnel" else []
    done = fleet.run("-t", "all", command, *ports)
    assert done.returncode == 2
    assert b"one target" in done.stderr


def test_a_reader_that_goes_away_ends_all_commands(fleet: Pod) -> None:
    process = fleet.popen("-t", "all", "exec", "--", "yes", stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
