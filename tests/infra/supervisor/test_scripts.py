"""startup.sh, the requirement files, and the doctor."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.supervisor.conftest import ROOT, LabHost

SCRIPTS = (
    "startup.sh",
    "infra/supervisor/host_keys.sh",
    "infra/remote_deploy.sh",
    "infra/install_test_packages.sh",
    "requirements/compile.sh",
    ".ci/run",
)
REQUIREMENTS = ("all", "backend", "bot", "dev", "gpu", "ops")


@pytest.mark.parametrize("script", SCRIPTS)
def test_shell_scripts_are_clean(shellcheck: str, script: str) -> None:
    done = subprocess.run(
        (shellcheck, str(ROOT / script)), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.fixture
def bare_checkout(tmp_path: Path) -> Path:
    """Make a checkout of startup.sh and the launcher that has nothing to install."""
    checkout = tmp_path / "with space"
    (checkout / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "startup.sh", checkout)
    shutil.copytree(ROOT / "infra" / "supervisor", checkout / "infra" / "supervisor")
    (checkout / "web").mkdir()
    (checkout / "workflows").mkdir()
    for module in ("web/__init__", "web/env_file", "workflows/__init__", "workflows/folders"):
        shutil.copy(ROOT / f"{module}.py", checkout / f"{module}.py")
    for name in (*REQUIREMENTS, "gate"):
        (checkout / "requirements" / f"{name}.txt").touch()
    return checkout


def startup(checkout: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    own = {"PYTHONPATH": packages, "EASEL_PYTHON": sys.executable}
    return subprocess.run(
        (shutil.which("bash") or "bash", str(checkout / "startup.sh"), *argv),
        env=os.environ | own | environ,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_startup_sets_up_once_and_beside_it_when_the_requirements_change(
    bare_checkout: Path,
) -> None:
    first = startup(bare_checkout, "setup")
    assert first.returncode == 0, first.stderr
    assert "Installing requirements/all.txt requirements/gate.txt" in first.stderr
    assert startup(bare_checkout, "setup").stderr == ""
    old = (bare_checkout / ".venv").resolve()
    (bare_checkout / "requirements" / "backend.txt").write_text("# newer\n")
    (bare_checkout / ".env").write_text("\ufeffEASEL_SERVICES=backend  # and nothing else\r\n")
    changed = startup(bare_checkout, "setup")
    assert "Installing requirements/ops.txt requirements/backend.txt\n" in changed.stderr
    assert (bare_checkout / ".venv").resolve() != old
    assert (old / "bin" / "python").exists()  # for services that still run with it


def test_packages_that_cannot_be_installed_leave_the_old_ones_in_use(bare_checkout: Path) -> None:
    never = startup(bare_checkout, "status")
    assert (never.returncode, never.stdout) == (1, "")
    assert "./startup.sh setup" in never.stderr
    assert startup(bare_checkout, "setup").returncode == 0
    old = (bare_checkout / ".venv").resolve()
    everything = bare_checkout / "requirements" / "all.txt"
    everything.write_text(f"nothing-such==1 --hash=sha256:{'0' * 64}\n")
    failed = startup(bare_checkout, "start", PIP_NO_INDEX="1")
    assert failed.returncode == 1
    assert "cannot be installed" in failed.stderr
    assert [*bare_checkout.glob(".venv-*")] == [old]
    shown = startup(bare_checkout, "status", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["ready"]
    assert "not installed" in shown.stderr
    (bare_checkout / ".env").write_text("COMFYUI_PORT=8188\n")
    (bare_checkout / ".env").chmod(0o644)
    assert "chmod 600" in startup(bare_checkout, "doctor").stdout
    assert startup(bare_checkout, "stop").stdout == "Nothing was running.\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("EASEL_SERVICES=backnd\n", "EASEL_SERVICES names backnd; allowed: comfyui"),
        ("# mine\nEASEL_CHECKPOINT: s3cret\n", ".env, line 2: it is not NAME=value"),
    ],
)
def test_a_wrong_line_of_the_hosts_file_is_named_before_anything_is_installed(
    bare_checkout: Path, text: str, said: str
) -> None:
    (bare_checkout / ".env").write_text(text)
    done = startup(bare_checkout, "start")
    assert done.returncode == 1
    assert said in done.stderr
    assert "Creating" not in done.stderr
    assert "s3cret" not in done.stderr


def test_startup_without_a_python_says_what_to_install(bare_checkout: Path) -> None:
    tools = bare_checkout / "bin"
    tools.mkdir()
    for tool in (
        "dirname",
        "readlink",
        "mkdir",
        "sha256sum",
        "grep",
        "sed",
        "tail",
        "rm",
        "cat",
        "cut",
        "head",
    ):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    done = startup(bare_checkout, "start", PATH=str(tools), EASEL_PYTHON="")
    assert done.returncode == 1
    assert "apt-get install python3 python3-venv" in done.stderr


def test_requirement_files_pin_the_same_versions_by_hash_and_name_no_host() -> None:
    pins: dict[str, str] = {}
    for name in REQUIREMENTS:
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert "://" not in text
        assert "--index" not in text
        pinned = r"^([a-z0-9._-]+)==(\S+)( ; [^\\\n]+)? \\\n    --hash=sha256:"
        lines = re.findall(pinned, text, re.MULTILINE)
        assert len(lines) == len(re.findall(r"^\S+==", text, re.MULTILINE))
        for package, version, _ in lines:
            assert pins.setdefault(package, version) == version


def test_doctor_names_a_taken_port_and_what_to_do(lab: LabHost) -> None:
    port = lab.add("backend")
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        done = lab.run("doctor", "--json")
    answer = json.loads(done.stdout)
    faults = [finding for finding in answer["findings"] if finding["result"] == "fault"]
    assert done.returncode == 3
    assert not answer["healthy"]
    assert [fault["check"] for fault in faults if fault["check"].startswith("port")] == [
        f"port {port}"
    ]
    assert all(fault["remedy"] for fault in faults)


def test_doctor_reports_wrong_settings_in_one_sentence(lab: LabHost) -> None:
    lab.environment |= {"GPU_PORT": "eighty"}
    done = lab.run("doctor")
    assert done.returncode == 3
    assert "settings gpu_server" in done.stdout
    assert "GPU_PORT" in done.stdout
    assert "Traceback" not in done.stdout


def test_doctor_goes_on_when_a_setting_keeps_it_from_looking_at_the_ports(lab: LabHost) -> None:
    lab.environment |= {"EASEL_SERVICE_TABLE": "", "BACKEND_PORT": "eighty"}
    done = lab.run("doctor", "--json")
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert done.returncode == 3
    assert "BACKEND_PORT is 'eighty'" in findings["ports"]["message"]
    assert findings["ports"]["remedy"]
    assert findings["settings backend"]["result"] == "fault"
    assert findings["clock"]["result"] == "ok"


def test_doctor_asks_for_no_other_model_than_the_owners_checkpoint(
    lab: LabHost, tmp_path: Path
) -> None:
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "main.py").touch()
    models = tmp_path / "models"
    lab.environment |= {"COMFYUI_DIR": str(tmp_path / "ComfyUI"), "GPU_MODELS_DIR": str(models)}
    lab.environment |= {"EASEL_CHECKPOINT": "mine.safetensors"}

    def finding() -> dict[str, str]:
        findings = json.loads(lab.run("doctor", "--json").stdout)["findings"]
        [row] = [finding for finding in findings if finding["check"] == "models"]
        return dict(row)

    assert finding()["result"] == "fault"
    assert str(models / "checkpoints") in finding()["remedy"]
    (models / "checkpoints").mkdir(parents=True)
    (models / "checkpoints" / "mine.safetensors").touch()
    assert finding()["result"] == "ok"


def test_models_are_handled_through_startup_too(lab: LabHost) -> None:
    lab.environment["GPU_MODELS_DIR"] = str(lab.path / "models")
    listed = lab.run("models", "list", "flux1-vae", "--json")
    assert [row["state"] for row in json.loads(listed.stdout)["models"]] == ["missing"]
    assert lab.run("models", "pull", "nothing").returncode == 2
    assert lab.run("status", "--nothing").returncode == 2
