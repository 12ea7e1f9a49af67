import json
import subprocess

from infra.ssh.commands.logs import ReplayFilter
from tests.infra.ssh.conftest import Pod
from tests.infra.ssh.test_redact import BOT_TOKEN


def write(pod: Pod, first: int, last: int, name: str = "all.log") -> None:
    with (pod.workdir / name).open("a") as file:
        file.writelines(f"line {n}\n" for n in range(first, last + 1))


def lines(first: int, last: int) -> bytes:
    return "".join(f"line {n}\n" for n in range(first, last + 1)).encode()


def read_lines(process: subprocess.Popen[bytes], count: int) -> bytes:
    assert process.stdout is not None
    return b"".join(process.stdout.readline() for _ in range(count))


def test_the_last_lines_of_a_service_are_shown(pod: Pod, via: str) -> None:
    write(pod, 1, 50, "backend.log")
    assert pod.run("--via", via, "logs", "backend", "-n", "3").stdout == lines(48, 50)


def test_only_matching_lines_are_shown(pod: Pod, via: str) -> None:
    write(pod, 1, 50)
    assert pod.run("--via", via, "logs", "--grep", "^line [12]5$").stdout == b"line 15\nline 25\n"


def test_a_time_is_passed_on_to_the_host(pod: Pod) -> None:
    (pod.workdir / "startup.sh").write_text('#!/bin/bash\necho "$*"\n')
    done = pod.run("logs", "backend", "--since", "10m")
    assert done.stdout == b"logs backend -n 100 --since 10m\n"


def test_tokens_in_logs_are_masked(pod: Pod, via: str) -> None:
    (pod.workdir / "all.log").write_bytes(b"POST /bot" + BOT_TOKEN + b"/getMe\n")
    done = pod.run("--via", via, "logs", "--json")
    assert json.loads(done.stdout)["targets"][0]["stdout"] == "POST /bot[redacted]/getMe\n"


def test_following_shows_each_line_once_across_a_dropped_connection(pod: Pod, via: str) -> None:
    server = pod.direct if via == "direct" else pod.gateway
    assert server is not None
    write(pod, 1, 30)
    process = pod.popen("--via", via, "logs", "-f", "-n", "10")
    try:
        assert read_lines(process, 10) == lines(21, 30)
        write(pod, 31, 40)
        assert read_lines(process, 10) == lines(31, 40)
        assert server.hang_up() > 0
        write(pod, 41, 50)
        assert read_lines(process, 10) == lines(41, 50)
        write(pod, 51, 60)
        assert read_lines(process, 10) == lines(51, 60)
    finally:
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"reconnecting" in err


def test_an_endless_stream_cannot_be_a_json_document(pod: Pod) -> None:
    assert pod.run("logs", "-f", "--json").returncode == 2


def test_a_log_that_cannot_be_read_fails_with_the_hosts_code(pod: Pod, via: str) -> None:
    assert pod.run("--via", via, "logs", "nothing").returncode == 1


def replayed(seen: list[bytes], repeated: list[bytes]) -> list[bytes]:
    """Return what is shown of `repeated` after a reconnection that follows `seen`."""
    shown: list[bytes] = []
    replay = ReplayFilter(shown.append, pause_s=0)
    for line in seen:
        replay.line(line)
    replay.begin()
    shown.clear()
    for line in repeated:
        replay.line(line)
    replay.tick()
    return shown


def test_a_replay_is_continued_after_the_last_line_seen() -> None:
    numbered = [b"%d\n" % n for n in range(100)]
    assert replayed(numbered[50:80], numbered) == numbered[80:]
    assert replayed(numbered, numbered) == []


def test_equal_lines_are_told_apart_by_their_neighbours() -> None:
    seen = [b"a\n", b"tick\n", b"tick\n", b"b\n"]
    assert replayed(seen, [b"b\n", *seen, b"tick\n"]) == [b"tick\n"]


def test_after_a_rotation_everything_is_new() -> None:
    assert replayed([b"old\n"], [b"x\n", b"y\n"]) == [b"x\n", b"y\n"]


def test_of_several_logs_in_one_stream_only_new_lines_are_shown() -> None:
    a, b = b"==> a.log <==\n", b"==> b.log <==\n"
    seen = [a, b"a1\n", b"\n", b, b"b1\n", b"\n", a, b"a2\n"]
    repeated = [a, b"a0\n", b"a1\n", b"a2\n", b"a3\n", b"\n", b, b"b0\n", b"b1\n"]
    assert replayed(seen, repeated) == [a, b"a3\n"]
