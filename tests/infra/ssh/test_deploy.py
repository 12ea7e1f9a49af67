import fcntl
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.infra.ssh.conftest import STARTUP, Pod
from tests.infra.ssh.waiting import eventually


class Checkout:
    """A git checkout to deploy from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "-q")
        (folder / "startup.sh").write_text(STARTUP)
        (folder / "startup.sh").chmod(0o755)
        self.head = self.commit("one")

    def git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
        command = ["git", "-C", str(self.folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, version: str) -> str:
        (self.folder / "version").write_text(version)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", version)
        self.head = self.git("rev-parse", "HEAD")
        return self.head


@pytest.fixture
def checkout(pod: Pod) -> Checkout:
    """Create a checkout to deploy; the pod has none yet."""
    (pod.workdir / "startup.sh").unlink()
    return Checkout(pod.folder / "source")


def deploy(
    pod: Pod, checkout: Checkout, *arguments: str, via: str = "direct"
) -> subprocess.CompletedProcess[bytes]:
    return pod.run("--via", via, "deploy", "--source", str(checkout.folder), *arguments)


def version(pod: Pod) -> str:
    return (pod.workdir / "version").read_text()


def releases(pod: Pod) -> set[str]:
    return {path.name for path in pod.folder.joinpath("easel-deploy", "releases").iterdir()}


def test_a_lost_connection_says_how_to_find_out_what_became_of_it(
    pod: Pod, checkout: Checkout
) -> None:
    assert pod.direct is not None
    begun = pod.folder / "begun"
    text = f"#!/bin/bash\ntouch {begun}; exec sleep 8\n"
    (checkout.folder / "startup.sh").write_text(text)
    checkout.commit("slow")
    process = pod.popen("--via", "direct", "deploy", "--source", str(checkout.folder))
    assert eventually(begun.exists)
    pod.direct.hang_up()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 255
    assert b"easel-ssh --target pod deploy --check" in err


def test_the_committed_tree_is_put_in_use_and_started(
    pod: Pod, checkout: Checkout, via: str
) -> None:
    (checkout.folder / "version").write_text("not committed")
    (checkout.folder / "untracked").write_text("x")
    done = deploy(pod, checkout, via=via)
    assert done.returncode == 0, done.stderr
    assert b"start\n" in done.stdout
    assert b"uncommitted changes" in done.stderr
    assert version(pod) == "one"
    assert not (pod.workdir / "untracked").exists()
    assert pod.workdir.readlink().name == checkout.head
    assert releases(pod) == {checkout.head}


def test_rollback_goes_back_one_release_at_a_time(pod: Pod, checkout: Checkout, via: str) -> None:
    for number in ("one", "two", "three"):
        if number != "one":
            checkout.commit(number)
        assert deploy(pod, checkout, via=via).returncode == 0
    for expected in ("two", "one"):
        done = deploy(pod, checkout, "--rollback", via=via)
        assert done.returncode == 0
        assert b"restart" in done.stdout
        assert version(pod) == expected
    assert deploy(pod, checkout, "--rollback", via=via).returncode == 1
    assert deploy(pod, checkout, "--rollback", checkout.head, via=via).returncode == 0
    assert version(pod) == "three"


def test_only_the_last_releases_are_kept(pod: Pod, checkout: Checkout) -> None:
    pod.settings["keep_releases"] = 2
    pod.write()
    heads = [checkout.head]
    assert deploy(pod, checkout).returncode == 0
    for number in ("two", "three"):
        heads.append(checkout.commit(number))
        assert deploy(pod, checkout).returncode == 0
    assert releases(pod) == set(heads[1:])


def test_settings_and_data_outlive_releases(pod: Pod, checkout: Checkout) -> None:
    assert deploy(pod, checkout).returncode == 0
    (pod.workdir / "data" / "rows.sqlite").write_text("rows")
    (pod.workdir / "backend").mkdir(exist_ok=True)
    (pod.workdir / "backend" / ".env").write_text("BACKEND_PORT=1")
    checkout.commit("two")
    assert deploy(pod, checkout).returncode == 0
    assert version(pod) == "two"
    assert (pod.workdir / "data" / "rows.sqlite").read_text() == "rows"
    assert (pod.workdir / "backend" / ".env").read_text() == "BACKEND_PORT=1"
    assert deploy(pod, checkout, "--rollback").returncode == 0
    assert (pod.workdir / "backend" / ".env").read_text() == "BACKEND_PORT=1"


def test_settings_put_on_the_host_after_a_deploy_take_effect_at_once(
    pod: Pod, checkout: Checkout
) -> None:
    assert deploy(pod, checkout).returncode == 0
    shared = pod.folder / "easel-deploy" / "shared"
    (shared / "backend" / ".env").write_text("BACKEND_PORT=1")
    assert (pod.workdir / "backend" / ".env").read_text() == "BACKEND_PORT=1"


def test_an_interrupted_deploy_can_be_repeated(pod: Pod, checkout: Checkout) -> None:
    half = pod.folder / "easel-deploy" / "releases" / checkout.head
    half.mkdir(parents=True)
    (half / "leftover").touch()
    done = deploy(pod, checkout)
    assert done.returncode == 0, done.stderr
    assert version(pod) == "one"
    assert not (pod.workdir / "leftover").exists()


def test_releases_that_do_not_come_up_never_push_out_one_that_did(
    pod: Pod, checkout: Checkout
) -> None:
    pod.settings["keep_releases"] = 2
    pod.write()
    good = checkout.head
    assert deploy(pod, checkout).returncode == 0
    (checkout.folder / "fails").touch()
    for number in ("two", "three"):
        checkout.commit(number)
        assert deploy(pod, checkout).returncode == 3
    assert deploy(pod, checkout, "--rollback", good).returncode == 0
    assert version(pod) == "one"


def test_an_existing_checkout_is_adopted_only_on_request(pod: Pod, checkout: Checkout) -> None:
    (pod.workdir / "startup.sh").write_text(STARTUP)
    (pod.workdir / "startup.sh").chmod(0o755)
    (pod.workdir / "version").write_text("zero")
    (pod.workdir / "data").mkdir()
    (pod.workdir / "data" / "rows").write_text("rows")
    refused = deploy(pod, checkout)
    assert refused.returncode == 1
    assert b"--adopt" in refused.stderr
    assert version(pod) == "zero"
    adopted = deploy(pod, checkout, "--adopt")
    assert adopted.returncode == 0
    assert adopted.stdout.startswith(b"stop\n")
    assert version(pod) == "one"
    assert (pod.workdir / "data" / "rows").read_text() == "rows"
    assert deploy(pod, checkout, "--rollback").returncode == 0
    assert version(pod) == "zero"
    assert (pod.workdir / "data" / "rows").read_text() == "rows"


def test_two_deploys_cannot_run_at_once(pod: Pod, checkout: Checkout, via: str) -> None:
    assert deploy(pod, checkout, via=via).returncode == 0
    checkout.commit("two")
    with (pod.folder / "easel-deploy" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = deploy(pod, checkout, via=via)
    assert refused.returncode == 75
    assert b"another deploy" in refused.stderr + refused.stdout
    assert version(pod) == "one"
    assert deploy(pod, checkout, via=via).returncode == 0


def test_services_do_not_hold_the_lock(pod: Pod, checkout: Checkout) -> None:
    daemon = '#!/bin/bash\n(sleep 60 >/dev/null 2>&1 & echo $! >"$0.pid"); echo "$1"\n'
    (checkout.folder / "startup.sh").write_text(daemon)
    checkout.commit("two")
    assert deploy(pod, checkout).returncode == 0
    try:
        assert deploy(pod, checkout).returncode == 0
    finally:
        for pid in pod.folder.rglob("startup.sh.pid"):
            os.kill(int(pid.read_text()), signal.SIGKILL)


def test_check_changes_nothing(pod: Pod, checkout: Checkout, via: str) -> None:
    done = deploy(pod, checkout, "--check", via=via)
    assert done.returncode == 0
    assert f"to deploy: {checkout.head}".encode() in done.stdout
    assert not (pod.folder / "easel-deploy").exists()
    assert pod.workdir.is_dir()


def test_a_release_that_does_not_come_up_is_replaced_by_the_one_before(
    pod: Pod, checkout: Checkout
) -> None:
    assert deploy(pod, checkout).returncode == 0
    (checkout.folder / "fails").touch()
    checkout.commit("two")
    done = deploy(pod, checkout)
    assert done.returncode == 3
    assert b"went back to release" in done.stderr
    assert done.stdout.endswith(b"restart \n")
    assert version(pod) == "one"
    assert len(releases(pod)) == 1
    (checkout.folder / "fails").unlink()
    checkout.commit("three")
    assert deploy(pod, checkout).returncode == 0
    assert version(pod) == "three"


def test_a_release_that_cannot_be_set_up_never_replaces_one_that_runs(
    pod: Pod, checkout: Checkout, via: str
) -> None:
    assert deploy(pod, checkout, via=via).returncode == 0
    startup = checkout.folder / "startup.sh"
    startup.write_text(STARTUP.replace("case $1 in", "case $1 in\n  setup) exit 1 ;;", 1))
    checkout.commit("two")
    done = deploy(pod, checkout, via=via)
    assert done.returncode == 1
    assert b"stays in use" in done.stderr + done.stdout
    assert b"restart" not in done.stdout
    assert version(pod) == "one"
    assert len(releases(pod)) == 1


def test_a_damaged_archive_changes_nothing(pod: Pod, checkout: Checkout, via: str) -> None:
    assert deploy(pod, checkout, via=via).returncode == 0
    script = Path(__file__).resolve().parents[3] / "infra" / "remote_deploy.sh"
    settings = (
        f"ACTION=deploy WORKDIR={pod.workdir} RELEASE=abc DIGEST={'0' * 64} KEEP=2 ADOPT=\n"
        "SHARED=(data/)\n"
    )
    line = settings + script.read_text()
    done = pod.run("--via", via, "exec", "--shell", line, stdin=b"not the archive that was sent")
    assert done.returncode == 1
    assert b"damaged" in done.stderr + done.stdout
    assert version(pod) == "one"
    assert releases(pod) - {".unfinished"} == {checkout.head}


def test_json_names_the_release(pod: Pod, checkout: Checkout, via: str) -> None:
    done = pod.run("--via", via, "--json", "deploy", "--source", str(checkout.folder))
    entry = json.loads(done.stdout)["targets"][0]
    assert (entry["release"], entry["exit"]) == (checkout.head, 0)


def test_a_folder_without_a_commit_is_a_usage_error(pod: Pod) -> None:
    done = pod.run("deploy", "--source", str(pod.folder))
    assert done.returncode == 2
    assert b"commit" in done.stderr
