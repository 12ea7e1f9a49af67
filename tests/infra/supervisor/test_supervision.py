"""The services of a host under a real supervisord, with stand-ins in place of the services."""

import json
import os
import signal
import socket
import subprocess
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from infra.supervisor.commands.logs import moment
from infra.supervisor.processes import is_alive
from tests.infra.supervisor.conftest import LabHost, until


def ready_with_other_pid(lab: LabHost, name: str, old: int) -> int | None:
    row = lab.status()[name]
    return row.pid if row.ready and row.pid != old else None


def test_start_shows_what_runs_where_and_a_second_start_changes_nothing(lab: LabHost) -> None:
    lab.add("gpu_server")
    lab.add("backend")
    first = lab.run("start")
    assert first.returncode == 0, first.stderr
    before = lab.status()
    for name in ("gpu_server", "backend"):
        row = next(line for line in first.stdout.splitlines() if line.startswith(name))
        assert str(before[name].pid) in row
        assert "yes" in row
        assert str(lab.path / "log" / f"{name}.log") in row
        assert lab.pid(name) == before[name].pid
    again = lab.run("start")
    assert again.returncode == 0
    assert {name: row.pid for name, row in lab.status().items()} == {
        name: row.pid for name, row in before.items()
    }


def test_status_as_json_and_its_exit_code_tell_whether_all_services_are_ready(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    ready = lab.run("status", "--json")
    assert (ready.returncode, json.loads(ready.stdout)["ready"]) == (0, True)
    (lab.path / "backend.unready").touch()
    unready = lab.run("status")
    assert unready.returncode == 3
    assert "503: the model is missing" in unready.stdout


def test_two_starts_at_once_start_each_service_once(lab: LabHost) -> None:
    lab.add("backend")
    both = [lab.popen("start"), lab.popen("start")]
    answers = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    log = (lab.path / "log" / "backend.log").read_text()
    assert log.count("begins as") == 1


def test_a_service_waits_for_the_one_it_needs(lab: LabHost) -> None:
    lab.add("local_telegram")
    lab.add("telegram_bot", after=["local_telegram"])
    (lab.path / "local_telegram.unready").touch()
    start = lab.popen("start")
    until(lambda: lab.status()["local_telegram"].pid)
    assert lab.status()["telegram_bot"].state == "STOPPED"
    (lab.path / "local_telegram.unready").unlink()
    start.communicate(timeout=60)
    assert start.returncode == 0
    assert lab.status()["telegram_bot"].ready


def test_a_killed_service_comes_back(lab: LabHost) -> None:
    lab.add("backend", starts_s=1)
    lab.run("start")
    killed = lab.pid("backend")
    os.kill(killed, signal.SIGKILL)
    fresh = until(lambda: ready_with_other_pid(lab, "backend", killed))
    assert lab.pid("backend") == fresh


def test_services_die_with_a_killed_supervisor_and_start_brings_all_back(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    service = lab.pid("backend")
    os.kill(lab.pid("supervisord"), signal.SIGKILL)
    until(lambda: not is_alive(service))
    assert lab.status()["backend"].state == "STOPPED"
    again = lab.run("start")
    assert again.returncode == 0, again.stderr
    assert lab.status()["backend"].ready


def test_a_frozen_supervisor_is_ended_and_start_brings_all_back(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    frozen, service = lab.pid("supervisord"), lab.pid("backend")
    os.kill(frozen, signal.SIGSTOP)
    again = lab.run("start")
    assert again.returncode == 0, again.stderr
    assert not is_alive(frozen)
    assert not is_alive(service)
    assert lab.status()["backend"].ready


def test_a_frozen_service_left_by_a_killed_supervisor_is_swept_away(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    service = lab.pid("backend")
    os.kill(service, signal.SIGSTOP)
    os.kill(lab.pid("supervisord"), signal.SIGKILL)
    again = lab.run("start")
    assert again.returncode == 0, again.stderr
    assert not is_alive(service)
    assert lab.pid("backend") != service


def test_a_pid_file_that_now_names_a_stranger_harms_nobody(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    lab.run("stop")
    (lab.path / "run" / "backend.pid").write_text(str(os.getpid()))
    assert lab.run("start").returncode == 0
    assert is_alive(os.getpid())


def test_a_service_that_keeps_ending_is_shown_with_the_end_of_its_log_and_given_up(
    lab: LabHost,
) -> None:
    lab.add("gpu_server")
    lab.add("backend", "--exit-code", "1", retries=1)
    start = lab.run("start")
    assert start.returncode == 1
    assert "backend did not become ready" in start.stderr
    assert "allowed: red, blue" in start.stderr
    row = until(lambda: row if (row := lab.status()["backend"]).state == "FATAL" else None)
    assert not row.ready
    assert lab.status()["gpu_server"].ready


def test_a_wrong_setting_stops_the_start_at_once_with_the_services_sentence(lab: LabHost) -> None:
    lab.add("backend", "--exit-code", "2")
    start = lab.run("start")
    assert start.returncode == 1
    assert "does not accept its settings" in start.stderr
    assert start.stderr.count("COLOUR is 'plaid'") == 1
    lab.table.clear()
    lab.add("backend")  # the setting is corrected
    assert lab.run("start").returncode == 0


@pytest.mark.parametrize("code", [1, 2])
def test_a_service_that_ends_after_a_slow_start_is_shown_and_not_tried_without_end(
    lab: LabHost, code: int
) -> None:
    lab.add("backend", "--exit-code", str(code), "--after", "1.5", starts_s=1)
    start = lab.run("start")
    assert start.returncode == 1
    reason = "does not accept its settings" if code == 2 else "keeps ending (exit status 1)"
    assert reason in start.stderr
    assert "COLOUR is 'plaid'" in start.stderr
    begun = (lab.path / "log" / "backend.log").read_text().count("begins as")
    assert begun <= 3
    assert lab.status()["backend"].pid is None


def test_a_service_that_does_not_get_ready_says_why(lab: LabHost) -> None:
    lab.add("gpu_server", ready_s=0.5)
    (lab.path / "gpu_server.unready").touch()
    start = lab.run("start")
    assert start.returncode == 1
    assert "503: the model is missing" in start.stderr


def test_a_frozen_service_is_not_ready(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    os.kill(lab.pid("backend"), signal.SIGSTOP)
    row = lab.status()["backend"]
    assert not row.ready
    assert "does not answer" in row.detail


def test_a_service_that_hangs_is_started_again(lab: LabHost) -> None:
    lab.add("backend", live_path="/livez", starts_s=1)
    lab.add("gpu_server", starts_s=1)  # without live_path, so nothing watches it
    lab.run("start")
    log = lab.path / "log" / "backend.log"
    until(lambda: "probed at /livez" in log.read_text())
    hung, waiting = lab.pid("backend"), lab.pid("gpu_server")
    for pid in (hung, waiting):
        os.kill(pid, signal.SIGSTOP)
    fresh = until(lambda: ready_with_other_pid(lab, "backend", hung))
    assert lab.pid("backend") == fresh
    assert is_alive(waiting)
    assert '"service": "backend"' in (lab.path / "log" / "watch.log").read_text()


def test_a_taken_port_is_named_with_who_has_it_and_nothing_is_started(lab: LabHost) -> None:
    lab.add("gpu_server")
    port = lab.add("backend")
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        start = lab.run("start")
    assert start.returncode == 1
    assert f"Port {port}, which backend needs, is taken by process {os.getpid()}" in start.stderr
    assert lab.status()["gpu_server"].state == "STOPPED"


def test_a_directory_that_cannot_be_written_is_named(lab: LabHost) -> None:
    lab.add("backend")
    (lab.path / "file").touch()
    lab.environment["EASEL_LOG_DIR"] = str(lab.path / "file" / "log")
    start = lab.run("start")
    assert start.returncode == 1
    assert "file/log cannot be written to" in start.stderr
    assert "EASEL_LOG_DIR" in start.stderr


def test_a_full_disk_is_named_as_the_cause(lab: LabHost) -> None:
    lab.add("backend")
    data = lab.path / "data"
    data.mkdir()
    small = ("mount", "-t", "tmpfs", "-o", "size=16k", "none", str(data))
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    try:
        start = lab.run("start")
    finally:
        subprocess.run(("umount", str(data)), check=True)
    assert start.returncode == 1
    assert "No space left on device. Free some space" in start.stderr


def test_stop_leaves_nothing_behind(lab: LabHost) -> None:
    ports = [lab.add("gpu_server"), lab.add("backend")]
    lab.run("start")
    pids = [lab.pid(name) for name in ("gpu_server", "backend", "supervisord")]
    stop = lab.run("stop")
    assert stop.returncode == 0
    assert "backend, gpu_server" in stop.stdout
    assert not any(is_alive(pid) for pid in pids)
    left = {path.name for path in (lab.path / "run").iterdir()}
    assert not {name for name in left if name.endswith((".pid", ".sock"))}
    for port in ports:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False)
    assert lab.run("stop").stdout == "Nothing was running.\n"


def test_one_service_can_be_stopped_and_started_alone(lab: LabHost) -> None:
    lab.add("gpu_server")
    lab.add("backend")
    lab.run("start")
    kept, old = lab.pid("gpu_server"), lab.pid("backend")
    lab.run("stop", "backend")
    assert lab.status()["backend"].state == "STOPPED"
    assert not (lab.path / "run" / "backend.pid").exists()
    assert lab.run("restart", "backend").returncode == 0
    assert lab.pid("backend") != old
    assert lab.pid("gpu_server") == kept


def test_a_restart_of_one_service_says_that_a_new_environment_needs_all(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    pid = lab.pid("backend")
    lab.environment["BACKEND_API_KEYS"] = "shop:a-key-that-nobody-guesses"
    again = lab.run("start")
    assert again.returncode == 0
    assert "BACKEND_API_KEYS in this environment differs" in again.stderr
    kept = lab.run("restart", "backend")
    assert kept.returncode == 1
    assert "BACKEND_API_KEYS" in kept.stderr
    assert "./startup.sh restart" in kept.stderr
    assert "a-key-that" not in kept.stderr
    assert is_alive(pid)
    assert lab.run("restart").returncode == 0
    assert lab.run("restart", "backend").returncode == 0
    assert lab.run("start").stderr == ""


def test_a_restart_with_a_wrong_setting_stops_nothing(lab: LabHost) -> None:
    lab.add("backend")
    assert lab.run("start").returncode == 0
    pid = lab.pid("backend")
    lab.environment["EASEL_SERVICES"] = "backendd"
    done = lab.run("restart")
    assert done.returncode == 1
    assert "backendd" in done.stderr
    assert is_alive(pid)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"BACKEND_RATE_PER_MINUTE": "-1"}, "backend: BACKEND_RATE_PER_MINUTE: "),
        ({"BACKEND_GPU_SERVERS": "http://a http://b"}, "backend: BACKEND_GPU_SERVERS: "),
    ],
)
def test_a_restart_with_a_setting_that_a_service_would_refuse_stops_nothing(
    lab: LabHost, wrong: dict[str, str], named: str
) -> None:
    lab.add("backend")
    assert lab.run("start").returncode == 0
    pid = lab.pid("backend")
    lab.environment |= {"EASEL_SERVICE_TABLE": "", **wrong}
    for command in ("restart", "start", "setup"):
        done = lab.run(command)
        assert done.returncode == 1
        assert named in done.stderr
        assert "Nothing was changed" in done.stderr
    assert is_alive(pid)


def test_services_that_joined_or_left_the_table_follow_at_the_next_start(lab: LabHost) -> None:
    lab.add("gpu_server")
    lab.run("start")
    gone = lab.pid("gpu_server")
    lab.table.clear()
    lab.add("backend")
    assert lab.run("start").returncode == 0
    assert lab.status()["backend"].ready
    assert not is_alive(gone)


def test_a_changed_service_is_restarted_by_the_next_start(
    lab: LabHost,
) -> None:
    lab.add("gpu_server")
    lab.add("backend")
    lab.run("start")
    kept, old = lab.pid("gpu_server"), lab.pid("backend")
    lab.table[1]["stop_s"] = 4
    again = lab.run("start")
    assert again.returncode == 0, again.stderr
    assert lab.pid("backend") != old
    assert lab.pid("gpu_server") == kept


def test_a_service_between_two_tries_can_be_stopped(lab: LabHost) -> None:
    lab.add("backend", "--exit-code", "1")
    lab.run("start")
    until(lambda: lab.status()["backend"].state == "BACKOFF")
    stop = lab.run("stop", "backend")
    assert stop.stdout == "Stopped: backend.\n"
    assert lab.status()["backend"].state == "STOPPED"


def test_a_setting_gone_wrong_does_not_keep_the_services_running(lab: LabHost) -> None:
    lab.add("backend")
    lab.run("start")
    service = lab.pid("backend")
    lab.environment |= {"EASEL_SERVICE_TABLE": "", "COMFYUI_PORT": "none"}
    assert lab.run("status").returncode == 1
    assert lab.run("stop").stdout == "Stopped: backend.\n"
    assert not is_alive(service)


def test_pid_files_of_other_programs_stay_where_they_are(lab: LabHost) -> None:
    lab.add("backend")
    other = lab.path / "run" / "sshd.pid"
    other.parent.mkdir()
    other.write_text("1")
    lab.run("start")
    lab.run("stop")
    assert other.exists()


def test_a_path_with_odd_characters_does_not_stop_the_supervisor(lab: LabHost) -> None:
    lab.add("backend")
    lab.environment["EASEL_RUN_DIR"] = str(lab.path / "run #2")
    refused = lab.run("start")
    assert refused.returncode == 1
    assert "must not have a space before" in refused.stderr
    lab.environment["EASEL_LOG_DIR"] = str(lab.path / "100 % größer; ja")
    lab.environment["EASEL_RUN_DIR"] = str(lab.path / "run %(here)s")
    start = lab.run("start")
    assert start.returncode == 0, start.stderr
    assert (lab.path / "100 % größer; ja" / "backend.log").exists()


def test_a_long_path_does_not_stop_the_supervisor(lab: LabHost) -> None:
    lab.add("backend")
    lab.environment["EASEL_RUN_DIR"] = str(lab.path / ("long-" * 30) / "run")
    start = lab.run("start")
    assert start.returncode == 0, start.stderr


def test_a_time_of_logs_is_that_long_ago_or_in_utc() -> None:
    hour, day = datetime(2026, 1, 1, 8, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    assert moment("2026-01-01T08:00") == moment("2026-01-01T09:00+01:00") == hour
    assert moment("2026-01-01") == day
    assert moment("90m") < datetime.now(UTC) < moment("0s") + timedelta(seconds=60)
    for wrong in ("yesterday", "999999d", "-1h", "", "1e3s"):
        with pytest.raises(ArgumentTypeError, match="allowed: 30s, 10m"):
            moment(wrong)


def test_logs_show_the_end_of_a_service(lab: LabHost) -> None:
    lab.add("gpu_server")
    lab.add("backend")
    lab.run("start")
    logs = lab.run("logs", "backend", "-n", "1")
    assert logs.stdout == f"{lab.path / 'backend'} begins as {lab.pid('backend')}\n"
    log = lab.path / "log" / "backend.log"
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    log.write_text(
        f'old\n{{"ts": "2020-01-01T00:00:00.1Z"}}\n{{"event": "new", "ts": "{now}Z"}}\ntraceback\n'
    )
    recent = lab.run("logs", "--since", "1h")
    assert recent.stdout.splitlines()[1:] == ["traceback"]
    assert "gpu_server.log: its lines carry no time" in recent.stderr
    assert "allowed: 30s, 10m" in lab.run("logs", "--since", "yesterday").stderr
    unknown = lab.run("logs", "painter")
    assert unknown.returncode == 1
    assert "there are: gpu_server, backend" in unknown.stderr
