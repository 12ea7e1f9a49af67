import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest

from tests.infra.ssh import sshd
from tests.infra.ssh.conftest import Pod
from tests.infra.ssh.waiting import eventually, is_running
from web import VERSION

BOT_TOKEN = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"


def test_help_needs_no_configuration(pod: Pod) -> None:
    pod.config.unlink()
    done = pod.run("help", "exec")
    assert done.returncode == 0
    assert done.stdout.startswith(b"usage: easel-ssh exec [OPTIONS] -- PROGRAM [ARGS")
    assert b"examples:" in done.stdout
    assert pod.run("help").stdout.startswith(b"usage: easel-ssh [-h]")
    assert pod.run("--version").stdout == f"easel-ssh {VERSION}\n".encode()
    assert pod.run("help", "dance").returncode == 2


def test_a_server_that_opens_no_session_is_explained(
    pod: Pod, start_sshd: Callable[..., sshd.Sshd]
) -> None:
    assert pod.direct is not None
    server = start_sshd("none", pod.direct.user_key, options=("MaxSessions 0",))
    pod.write(pod={"direct": pod.route(server)})
    pod.known_hosts.write_text(server.known_hosts_line)
    done = pod.run("exec", "--", "true")
    assert done.returncode == 255
    assert b"opens no session: the server refused it" in done.stderr
    assert b"MaxSessions" in done.stderr


@pytest.mark.parametrize("code", [0, 3, 255])
def test_the_exit_code_is_the_remote_commands_own(pod: Pod, via: str, code: int) -> None:
    assert pod.run("--via", via, "exec", "--", "sh", "-c", f"exit {code}").returncode == code


def test_a_command_killed_by_a_signal_exits_as_in_a_shell(pod: Pod, via: str) -> None:
    assert pod.run("--via", via, "exec", "--", "sh", "-c", "kill -9 $$").returncode == 137


def test_output_and_error_output_stay_apart_on_a_direct_connection(pod: Pod) -> None:
    done = pod.run("exec", "--shell", "echo out; echo err >&2")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\n")


def test_binary_input_and_output_arrive_byte_for_byte(pod: Pod, via: str) -> None:
    blob = bytes(range(256)) * 4 + os.urandom(300_000)
    done = pod.run("--via", via, "exec", "--raw", "--", "cat", stdin=blob)
    assert done.returncode == 0
    assert done.stdout == blob


def test_output_without_a_last_line_end_gets_none(pod: Pod, via: str) -> None:
    assert pod.run("--via", via, "exec", "--", "printf", "a\\r\\n\\tb").stdout == b"a\r\n\tb"


def test_a_command_that_reads_no_input_is_not_held_up_by_it(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "exec", "--", "echo", "hi", stdin=bytes(3_000_000))
    assert (done.returncode, done.stdout) == (0, b"hi\n")


def test_large_output_on_both_streams_does_not_block(pod: Pod) -> None:
    line = "for n in $(seq 1 40000); do echo out$n; echo err$n >&2; done; exit 3"
    done = pod.run("exec", "--shell", line)
    assert done.returncode == 3
    assert done.stdout.splitlines()[-1] == b"out40000"
    assert done.stderr.splitlines()[-1] == b"err40000"


def test_arguments_are_never_interpreted(pod: Pod, via: str) -> None:
    arguments = [
        "a b'; touch pwned; '$(id)`id`\n*",
        "$HOME ${PATH} ~ !! \\ \\\\n",
        "",
        "--json",
        "-n",
        "é漢\U0001f600",
        "x" * 9000,
        '"; exit 9 #',
        "\x03\x04\x1a",
    ]
    done = pod.run("--via", via, "exec", "--", "printf", "%s|", *arguments, "end")
    assert done.stdout.decode() == "|".join([*arguments, "end|"])
    assert done.returncode == 0


def test_options_of_the_remote_command_are_its_own(pod: Pod) -> None:
    assert pod.run("exec", "echo", "--json").stdout == b"--json\n"


def test_a_shell_line_is_interpreted_on_request(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "exec", "--shell", "printf 'b\\na\\n' | sort | tr a-z A-Z")
    assert done.stdout == b"A\nB\n"


def test_a_shell_line_with_a_syntax_error_fails_like_bash(pod: Pod, via: str) -> None:
    assert pod.run("--via", via, "exec", "--shell", "echo a |").returncode == 2


def test_directory_and_environment_are_set(pod: Pod, via: str) -> None:
    done = pod.run(
        *("--via", via, "exec", "--cd", str(pod.workdir), "--env", "A=x y'\"$(id)", "--env", "B"),
        *("--shell", 'pwd; printf "%s|%s" "$A" "$B"'),
        env={"B": BOT_TOKEN[:20]},
    )
    assert done.stdout.decode() == f"{pod.workdir}\nx y'\"$(id)|{BOT_TOKEN[:20]}"


def test_a_missing_directory_is_an_error(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "exec", "--cd", "/does/not/exist", "--", "echo", "hi")
    assert done.returncode == 1
    assert b"hi" not in done.stdout.splitlines()


def test_values_of_the_environment_stay_out_of_remote_process_lists(pod: Pod, via: str) -> None:
    done = pod.run(
        *("--via", via, "exec", "--env", "A_SECRET", "--shell"),
        "cat /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -c val-471[1]-ue",
        env={"A_SECRET": "val-4711-ue"},
    )
    assert done.stdout == b"0\n"


@pytest.mark.parametrize(
    "arguments", [("--env", f"T={BOT_TOKEN}", "--", "true"), ("--", "echo", BOT_TOKEN)]
)
def test_a_secret_in_the_arguments_is_refused(pod: Pod, arguments: tuple[str, ...]) -> None:
    done = pod.run("exec", *arguments)
    assert done.returncode == 2
    assert b"secret" in done.stderr
    assert BOT_TOKEN.encode() not in done.stderr + done.stdout


def test_secrets_in_output_are_redacted(pod: Pod, via: str) -> None:
    secrets = (
        f"{BOT_TOKEN}\nhf_abcdefghijklmnop\nrpa_ABCDEFGH12345\nAuthorization: Bearer abc.def-123\n"
    )
    done = pod.run("--via", via, "exec", "--", "cat", stdin=secrets.encode())
    assert done.stdout.decode() == (
        "[redacted]\n[redacted]\n[redacted]\nAuthorization: Bearer [redacted]\n"
    )


def test_json_is_one_document_with_both_streams(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "--json", "exec", "--", "sh", "-c", "echo hé; exit 5")
    assert done.returncode == 5
    assert json.loads(done.stdout) == {
        "exit": 5,
        "targets": [{"target": "pod", "exit": 5, "via": via, "stdout": "hé\n", "stderr": ""}],
    }


def test_a_timeout_ends_the_remote_command(pod: Pod, via: str) -> None:
    done = pod.run(
        "--via", via, "--timeout", "2", "exec", "--shell", "echo $BASHPID; exec sleep 300"
    )
    assert done.returncode == 124
    pid = int(done.stdout)
    assert eventually(lambda: not is_running(pid))
    assert b"sleep" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_remote_command(pod: Pod, via: str, number: int) -> None:
    process = pod.popen("--via", via, "exec", "--shell", "echo $BASHPID; exec sleep 300")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert eventually(lambda: not is_running(pid))


def test_an_interrupt_ends_a_command_that_does_not_read_its_input(pod: Pod, via: str) -> None:
    unread = pod.folder / "unread"
    unread.write_bytes(bytes(8_000_000))
    with unread.open("rb") as file:
        line = "echo $BASHPID; exec sleep 300"
        process = pod.popen("--via", via, "exec", "--shell", line, stdin=file.fileno())
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert eventually(lambda: not is_running(pid))


def test_a_command_that_is_about_to_begin_is_ended_too(
    pod: Pod, start_sshd: Callable[..., sshd.Sshd]
) -> None:
    sent, begun, slow = (pod.folder / name for name in ("sent", "begun", "slow.sh"))
    # makes a shell on that host wait at its start until the command has been sent
    slow.write_text(f"until read -t 0; do sleep 0.01; done; touch {sent}; sleep 0.5\n")
    assert pod.direct is not None
    host = start_sshd("slow", pod.direct.user_key, environment=f"BASH_ENV={slow}")
    pod.write(pod={"direct": pod.route(host)})
    pod.known_hosts.write_text(host.known_hosts_line)
    process = pod.popen("exec", "--shell", f"echo $BASHPID >{begun}; exec sleep 300")
    assert eventually(sent.exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"was ended" in err
    assert eventually(lambda: begun.exists() and begun.read_text() != "")
    assert eventually(lambda: not is_running(int(begun.read_text())))


def test_a_program_started_with_nohup_outlives_its_terminal(pod: Pod) -> None:
    go = pod.folder / "go"
    line = f"echo ready; until [ -e {go} ]; do sleep 0.05; done; echo done"
    process = pod.popen("exec", "--shell", line, before=("nohup",), stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGHUP)
    go.touch()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, b"done\n")


def test_a_command_that_ignores_interrupts_is_ended_too(pod: Pod, via: str) -> None:
    line = "trap '' INT TERM HUP; echo $BASHPID; while :; do sleep 1; done"
    process = pod.popen("--via", via, "exec", "--shell", line)
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert eventually(lambda: not is_running(pid))


def test_a_dropped_connection_is_a_failure(pod: Pod, via: str) -> None:
    server = pod.direct if via == "direct" else pod.gateway
    assert server is not None
    process = pod.popen("--via", via, "exec", "--shell", "echo $BASHPID; exec sleep 300")
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert server.hang_up() > 0
    _, err = process.communicate(timeout=60)
    assert process.returncode == 255
    assert b"unknown" in err or b"lost" in err
    if is_running(pid):
        os.kill(pid, signal.SIGKILL)


def test_a_gateway_configured_as_direct_is_a_failure(pod: Pod) -> None:
    assert pod.gateway is not None
    pod.write(pod={"direct": pod.route(pod.gateway)})
    done = pod.run("exec", "--", "true")
    assert done.returncode == 255
    assert b'"proxy"' in done.stderr
    plain = ["-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={pod.known_hosts}"]
    port = ["-i", str(pod.gateway.user_key), "-p", str(pod.gateway.port)]
    ssh = subprocess.run(
        ["ssh", *plain, *port, f"{pod.gateway.user}@127.0.0.1", "false"],
        check=False,
        capture_output=True,
    )
    assert ssh.returncode == 0  # an ordinary client takes this for success


def test_a_reader_that_goes_away_ends_the_command_quietly(pod: Pod) -> None:
    process = pod.popen("exec", "--", "yes")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == b""
    process.stderr.close()
    if process.stdin is not None:
        process.stdin.close()


def test_closed_streams_do_no_harm(pod: Pod, via: str) -> None:
    file = pod.folder / "file"
    closed = ("bash", "-c", 'exec "$@" <&- >&- 2>&-', "-")
    process = pod.popen("--via", via, "exec", "--shell", f"echo a | tee {file}", before=closed)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert file.read_text() == "a\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "nonsense"),
        (["exec"], "exec needs a command"),
        (["exec", "--shell", "a", "--", "b"], "exec needs a command"),
        (["exec", "--env", "1X=2", "--", "true"], "NAME=VALUE"),
        (["exec", "--env", "NOT_THERE", "--", "true"], "NOT_THERE"),
        (["--via", "pigeon", "status"], "direct"),
        (["--timeout", "0", "status"], "above 0"),
        (["--target", "pdo", "status"], 'did you mean "pod"'),
        (["status", "--", "x"], "--"),
        (["tunnel", "80"], "LPORT:RPORT"),
        (["tunnel", "1:99999"], "65535"),
        (["logs", "-n", "x"], "-n"),
        (["logs", "--grep", "("], "regular expression"),
        (["shell"], "terminal"),
        (["push", "/does/not/exist", "x"], "/does/not/exist"),
    ],
)
def test_a_usage_error_exits_2_and_says_what_is_allowed(
    pod: Pod, arguments: list[str], message: str
) -> None:
    done = pod.run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stdout == b""


def test_a_usage_error_is_a_document_too(pod: Pod) -> None:
    done = pod.run("--json", "nonsense")
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"]["code"] == "usage"
