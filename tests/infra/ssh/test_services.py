import json

import pytest

from tests.infra.ssh.conftest import Pod


def test_status_shows_the_hosts_table_and_exits_3_when_something_is_not_ready(
    pod: Pod, via: str
) -> None:
    done = pod.run("--via", via, "status")
    assert done.returncode == 3
    assert b"backend  RUNNING  not ready\n" in done.stdout


def test_status_as_json_holds_the_hosts_own_document(pod: Pod, via: str) -> None:
    done = pod.run("status", "--json", "--via", via)
    assert done.returncode == 3
    entry = json.loads(done.stdout)["targets"][0]
    assert entry["status"] == {"services": [{"name": "backend", "ready": False}]}
    assert (entry["target"], entry["via"], entry["exit"]) == ("pod", via, 3)


@pytest.mark.parametrize("command", ["start", "stop", "restart"])
def test_services_are_passed_on_by_name(pod: Pod, via: str, command: str) -> None:
    done = pod.run("--via", via, command, "backend", "comfyui")
    assert done.stdout == f"{command} backend comfyui\n".encode()


def test_a_service_name_cannot_run_anything(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "stop", "$(touch pwned); echo x")
    assert done.stdout == b"stop $(touch pwned); echo x\n"
    assert not list(pod.folder.rglob("pwned"))


def test_a_host_without_a_checkout_says_so(pod: Pod, via: str) -> None:
    pod.settings["workdir"] = str(pod.folder / "nowhere")
    pod.write()
    done = pod.run("--via", via, "status")
    assert done.returncode == 3
    assert b"deploy" in done.stdout + done.stderr


def test_models_commands_are_passed_on_to_the_host(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "models", "verify", "--style", "anime")
    assert done.stdout == b"models verify --style anime\n"
    assert done.returncode == 3
    done = pod.run("models", "add", "https://a.example/b", "--to", "loras", "--force")
    assert done.stdout == b"models add https://a.example/b --to loras --force\n"


def test_models_as_json_holds_the_hosts_own_document(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "models", "list", "--json")
    assert json.loads(done.stdout)["targets"][0]["models"] == {"models": []}


def test_doctor_finds_nothing_wrong_with_a_good_host(pod: Pod, via: str) -> None:
    done = pod.run("--via", via, "doctor", "--json")
    checks = json.loads(done.stdout)["targets"][0]["checks"]
    assert [check for check in checks if check["state"] == "fail"] == []
    assert done.returncode == 0


def test_doctor_tells_a_host_without_easel_what_to_do_and_nothing_else(pod: Pod) -> None:
    pod.settings["workdir"] = str(pod.folder / "nowhere")
    pod.write()
    done = pod.run("--via", "direct", "doctor", "--json")
    checks = json.loads(done.stdout)["targets"][0]["checks"]
    (fault,) = [check for check in checks if check["state"] == "fail"]
    assert fault["detail"].endswith("does not exist: easel-ssh deploy")


def test_doctor_refuses_a_key_that_others_can_read(pod: Pod) -> None:
    server = pod.direct
    assert server is not None
    loose = pod.folder / "loose_key"
    loose.write_bytes(server.user_key.read_bytes())
    loose.chmod(0o640)
    pod.write(pod={"direct": {**pod.route(server), "key": str(loose)}, "workdir": "/tmp/x"})
    done = pod.run("doctor")
    assert done.returncode == 3
    assert b"chmod 600" in done.stdout
    warned = pod.run("exec", "--", "true")
    assert warned.returncode == 0
    assert b"chmod 600" in warned.stderr


def test_doctor_accepts_a_file_system_without_a_size(pod: Pod) -> None:
    pod.settings["workdir"] = "/proc"
    pod.write()
    done = pod.run("--via", "direct", "doctor")
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    assert b"size unknown" in done.stdout
