"""Check the container files by rules like hadolint's, as images cannot be built everywhere."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.settings import Settings as BackendSettings
from gpu_server.settings import Settings as GpuSettings
from telegram_bot.settings import Settings as BotSettings

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "infra" / "docker"
SECRET = re.compile(r"KEY|TOKEN|PASSWORD|SECRET")


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return [word for word in self.text.split() if not word.startswith("--")]


def _read(path: Path) -> list[Instruction]:
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parts = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [Instruction(name.upper(), text) for name, text in parts]


def _compose() -> dict[str, Any]:
    compose: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
    return compose


@pytest.fixture(params=["Dockerfile", "Dockerfile.gpu"])
def dockerfile(request: pytest.FixtureRequest) -> list[Instruction]:
    return _read(DOCKER / request.param)


def _all(dockerfile: list[Instruction], name: str) -> list[Instruction]:
    return [instruction for instruction in dockerfile if instruction.name == name]


def _is_pinned(image: str) -> bool:
    _, _, tag = image.rpartition(":")
    return bool(re.match(r"\d+\.\d+", tag))


def test_base_images_are_pinned_to_a_version(dockerfile: list[Instruction]) -> None:
    assert [base.text for base in _all(dockerfile, "FROM") if not _is_pinned(base.words[0])] == []


def test_the_image_does_not_run_as_root(dockerfile: list[Instruction]) -> None:
    names = [instruction.name for instruction in dockerfile]
    assert dockerfile[names.index("USER")].text == "easel"
    assert names.count("USER") == 1
    assert "RUN" not in names[names.index("USER") :]


def test_nothing_is_fetched_by_add_or_piped_into_a_shell(dockerfile: list[Instruction]) -> None:
    assert _all(dockerfile, "ADD") == []
    for run in _all(dockerfile, "RUN"):
        assert not re.search(r"\b(curl|wget)\b|\|\s*(ba)?sh\b|\bsudo\b", run.text), run.text


def test_packages_of_the_system_leave_no_lists_behind(dockerfile: list[Instruction]) -> None:
    for run in _all(dockerfile, "RUN"):
        if "apt-get" in run.text:
            assert run.text.startswith("apt-get update && ")
            assert "install -y --no-install-recommends " in run.text
            assert run.text.endswith("rm -rf /var/lib/apt/lists/*")


def test_python_packages_are_installed_by_hash_and_not_cached(
    dockerfile: list[Instruction],
) -> None:
    for run in _all(dockerfile, "RUN"):
        if "pip install" in run.text:
            assert "--require-hashes" in run.text
            assert "--no-cache-dir" in run.text


def test_commands_are_programs_not_shell_lines(dockerfile: list[Instruction]) -> None:
    commands = _all(dockerfile, "CMD") + _all(dockerfile, "ENTRYPOINT")
    assert commands
    for command in commands:
        assert all(isinstance(word, str) for word in json.loads(command.text))


def test_the_image_has_a_health_check_on_its_own_port(dockerfile: list[Instruction]) -> None:
    (check,) = _all(dockerfile, "HEALTHCHECK")
    command = json.loads(check.text.partition(" CMD ")[2])
    compile(command[-1], "HEALTHCHECK", "exec")
    (port,) = _all(dockerfile, "EXPOSE")
    assert f":{port.text}/livez" in command[-1]


def test_no_secret_is_baked_in(dockerfile: list[Instruction]) -> None:
    for instruction in _all(dockerfile, "ENV") + _all(dockerfile, "ARG"):
        assert not SECRET.search(instruction.text), instruction.text


def test_everything_copied_is_there_and_reaches_the_build(dockerfile: list[Instruction]) -> None:
    ignore = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    for copy in _all(dockerfile, "COPY"):
        for source in copy.words[:-1]:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, p) or p.startswith(f"{source}/") for p in kept), source


def _imported(folder: Path) -> set[str]:
    """Return the packages of this repository that the modules in `folder` import."""
    lines = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
    texts = (file.read_text("utf-8") for file in folder.rglob("*.py"))
    names = set().union(*(lines.findall(text) for text in texts))
    return {name for name in names if (ROOT / name / "__init__.py").is_file()}


def test_every_package_of_the_repository_that_is_run_or_imported_is_copied(
    dockerfile: list[Instruction],
) -> None:
    copied = {word for copy in _all(dockerfile, "COPY") for word in copy.words[:-1]}
    for command in _all(dockerfile, "CMD"):
        words = json.loads(command.text)
        part = words[words.index("-m") + 1] if "-m" in words else words[0].split("/")[0]
        assert part in copied
    for package in copied:
        if (ROOT / package / "__init__.py").is_file():
            assert _imported(ROOT / package) <= copied, package


def test_secrets_and_state_stay_out_of_the_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert ignored.index("*") < ignored.index("!infra") < ignored.index("**/.env")
    assert {"**/.env", "**/*.pem", "**/*.key", "infra/ssh_config.json"} <= set(ignored)


def test_the_gpu_image_uses_settings_that_exist() -> None:
    (environment, *_) = _all(_read(DOCKER / "Dockerfile.gpu"), "ENV")
    names = {name for name, _, _ in (word.partition("=") for word in environment.words)}
    known = {field.upper() for field in GpuSettings.model_fields}
    known |= {"EASEL_SERVICES", "EASEL_VENV", "EASEL_LOG_DIR", "EASEL_RUN_DIR", "COMFYUI_DIR"}
    assert {name for name in names if not name.startswith("NVIDIA_")} <= known


def test_compose_uses_pinned_images_and_settings_that_exist() -> None:
    known = {
        "backend": {field.upper() for field in BackendSettings.model_fields},
        "bot": {field.upper() for field in BotSettings.model_fields},
        "gpu": {field.upper() for field in GpuSettings.model_fields},
    }
    for name, service in _compose()["services"].items():
        assert _is_pinned(service["image"]), name
        assert set(service["environment"]) <= known.get(name, set(service["environment"])), name


def test_compose_holds_no_secret_and_asks_for_each() -> None:
    for service in _compose()["services"].values():
        for name, value in service["environment"].items():
            if SECRET.search(name):
                assert re.fullmatch(r"\$\{\w+:\?set it in \.env\}", value), name


def test_the_template_names_every_variable_compose_asks_for() -> None:
    expected = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text("utf-8")))
    template = (DOCKER / "env.template").read_text("utf-8")
    assert set(re.findall(r"^(\w+)=", template, re.MULTILINE)) == expected
    assert re.findall(r"^\w+=.+", template, re.MULTILINE) == []


def test_compose_opens_ports_on_this_host_only() -> None:
    for service in _compose()["services"].values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_every_service_that_others_wait_for_has_a_health_check() -> None:
    services = _compose()["services"]
    files = {name: services[name].get("build", {}).get("dockerfile") for name in services}
    for service in services.values():
        for other, wanted in service.get("depends_on", {}).items():
            assert wanted == {"condition": "service_healthy"}
            own = "healthcheck" in services[other]
            assert own or _all(_read(ROOT / str(files[other])), "HEALTHCHECK"), other


def test_the_logs_of_every_service_are_bounded() -> None:
    for name, service in _compose()["services"].items():
        assert service["logging"]["options"].keys() >= {"max-size", "max-file"}, name


def test_volumes_of_services_are_declared() -> None:
    compose = _compose()
    used = {v.partition(":")[0] for s in compose["services"].values() for v in s["volumes"]}
    assert used == set(compose["volumes"])


def test_docker_compose_accepts_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    works = (
        docker
        and not subprocess.run(
            [docker, "compose", "version"], capture_output=True, check=False
        ).returncode
    )
    if not docker or not works:
        pytest.skip("docker compose is not installed")
    template = (DOCKER / "env.template").read_text("utf-8")
    env = tmp_path / "env"
    env.write_text(re.sub(r"^(\w+)=$", r"\1=a-value", template, flags=re.MULTILINE))
    file = str(DOCKER / "compose.yaml")
    command = [docker, "compose", "--env-file", str(env), "--profile", "gpu", "-f", file]
    done = subprocess.run([*command, "config", "--quiet"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
