"""Settings that cannot be: one clear sentence, before anything has started."""

from pathlib import Path
from typing import Self

import pytest
from pydantic import Field, SecretStr, model_validator

from backend import settings as backend
from gpu_server import settings as gpu_server
from tests.services import Program
from web import settings
from web.settings import ServiceSettings, SettingsError

SECRET = "s3cret-value-nobody-sees"


class Shop(ServiceSettings):
    shop_host: str = "127.0.0.1"
    shop_port: int = Field(8080, ge=1, le=65535)
    shop_token: SecretStr = SecretStr("")
    other_url: str = ""

    @classmethod
    def own_prefix(cls) -> str:
        return "SHOP_"

    @model_validator(mode="after")
    def _check(self) -> Self:
        token = self.shop_token.get_secret_value()
        settings.require_secret_off_loopback(self.shop_host, token, "SHOP_HOST", "SHOP_TOKEN")
        return self


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def test_nothing_needs_to_be_set(env_file: Path) -> None:
    assert settings.load(Shop, env_file).shop_port == 8080


def test_the_environment_wins_over_the_file(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("SHOP_PORT=1234\nSHOP_TOKEN=from-the-file\n")
    monkeypatch.setenv("SHOP_PORT", "4321")
    loaded = settings.load(Shop, env_file)
    assert (loaded.shop_port, loaded.shop_token.get_secret_value()) == (4321, "from-the-file")


def test_an_empty_variable_counts_as_not_set(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PORT", "")
    assert settings.load(Shop, env_file).shop_port == 8080


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("SHOP_PROT=1", "SHOP_PROT is not a setting; did you mean SHOP_PORT?"),
        ("SHOP_XYZZY_123=1", "SHOP_XYZZY_123 is not a setting"),
        ("SHOP_PORT=x", "SHOP_PORT: Input should be a valid integer"),
        ("SHOP_PORT=0", "SHOP_PORT: Input should be greater than or equal to 1"),
        ("SHOP_PORT=65536", "SHOP_PORT: Input should be less than or equal to 65535"),
        ("SHOP_HOST=0.0.0.0", "SHOP_HOST is 0.0.0.0, which others can reach, but SHOP_TOKEN"),
        ("SHOP_HOST=::", "SHOP_HOST is ::, which others can reach, but SHOP_TOKEN is empty"),
    ],
)
@pytest.mark.parametrize("from_file", [True, False])
def test_a_wrong_setting_is_named_with_what_is_allowed(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, line: str, sentence: str, from_file: bool
) -> None:
    name, _, value = line.partition("=")
    if from_file:
        env_file.write_text(line + "\n")
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        settings.load(Shop, env_file)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)


def test_secrets_are_not_shown(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", SECRET)
    assert SECRET not in repr(settings.load(Shop, env_file))
    monkeypatch.setenv("SHOP_PORT", "x")
    with pytest.raises(SettingsError) as refused:
        settings.load(Shop, env_file)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1"])
def test_loopback_needs_no_secret(host: str) -> None:
    settings.require_secret_off_loopback(host, "", "A", "B")


@pytest.mark.parametrize(
    ("module", "wrong", "named"),
    [
        ("gpu_server", {"GPU_PROT": "1"}, ["GPU_PROT", "GPU_PORT"]),
        ("gpu_server", {"EASEL_WORKFLOWS_DIR": "nowhere"}, ["'nowhere'", "does not exist"]),
        ("backend", {"BACKEND_API_KEYS": f"me:{SECRET},me:{SECRET}"}, ["BACKEND_API_KEYS"]),
    ],
)
def test_a_service_does_not_start_with_wrong_settings_and_says_why(
    tmp_path: Path, module: str, wrong: dict[str, str], named: list[str]
) -> None:
    with Program(module, environment=wrong, folder=tmp_path) as program:
        assert program.exit_code() == 2
        said = program.errors()
        assert said.startswith("error: ")
        assert said.count("\n") == 1
        assert all(part in said for part in named), said
        assert SECRET not in said + program.output()
        assert "short-secret" not in said


@pytest.mark.parametrize(
    ("kind", "wrong", "named"),
    [
        (gpu_server.Settings, {"GPU_PORT": "many"}, ["GPU_PORT", "valid integer"]),
        (gpu_server.Settings, {"GPU_HOST": "0.0.0.0"}, ["GPU_HOST", "GPU_TOKEN"]),
        (gpu_server.Settings, {"COMFYUI_URL": "localhost"}, ["COMFYUI_URL", "http://"]),
        (gpu_server.Settings, {"GPU_LOG_LEVEL": "LOUD"}, ["GPU_LOG_LEVEL", "'DEBUG'", "'ERROR'"]),
        (backend.Settings, {"BACKEND_HOST": "0.0.0.0"}, ["BACKEND_HOST", "BACKEND_API_KEYS"]),
        (backend.Settings, {"BACKEND_API_KEYS": "me:short-secret"}, ["BACKEND_API_KEYS", "16"]),
        (backend.Settings, {"BACKEND_DATABASE_URL": f"mysql://u:{SECRET}@h/d"}, ["DATABASE_URL"]),
        (backend.Settings, {"BACKEND_GPU_SERVERS": "pod1:8100"}, ["GPU_SERVERS", "http://"]),
        (backend.Settings, {"BACKEND_GPU_SERVERS": ","}, ["GPU_SERVERS", "at least one"]),
        (backend.Settings, {"BACKEND_IMAGES_URL": "bogus://x"}, ["IMAGES_URL", "s3://"]),
        (backend.Settings, {"BACKEND_MAX_QUEUE": "-1"}, ["BACKEND_MAX_QUEUE", "equal to 1"]),
    ],
)
def test_each_wrong_setting_of_a_service_is_one_sentence_without_secrets(
    env_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[ServiceSettings],
    wrong: dict[str, str],
    named: list[str],
) -> None:
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        settings.load(kind, env_file)
    sentence = str(refused.value)
    assert all(part in sentence for part in named), sentence
    assert "\n" not in sentence
    assert SECRET not in sentence
    assert "short-secret" not in sentence
