"""Settings that cannot be: one clear sentence, before anything has started."""

from pathlib import Path
from typing import Self

import pytest
from pydantic import Field, SecretStr, model_validator

from backend import settings as backend
from gpu_server import settings as gpu_server
from telegram_bot import settings as telegram_bot
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


@pytest.mark.parametrize(
    ("written", "line"),
    [
        (b"# mine\nSHOP_TOKEN: " + SECRET.encode(), "line 2"),
        (b"SHOP_PORT=1\nSHOP_TOKEN " + SECRET.encode(), "line 2"),
        (b"SHOP_PORT=1\n\nSHOP_TOKEN='" + SECRET.encode() + b"\nSHOP_HOST=::1\n", "line 3"),
        (b"set SHOP_TOKEN=" + SECRET.encode(), "line 1"),
        (f"SHOP_TOKEN={SECRET}\n".encode("utf-16"), "UTF-8"),
        (f"SHOP_TOKEN={SECRET}\n".encode("utf-16-le"), "UTF-8"),
    ],
)
def test_a_line_that_cannot_be_read_stops_the_start_by_its_number(
    env_file: Path, written: bytes, line: str
) -> None:
    env_file.write_bytes(written)
    with pytest.raises(SettingsError) as refused:
        settings.load(Shop, env_file)
    assert line in str(refused.value)
    assert str(env_file) in str(refused.value)
    assert SECRET not in str(refused.value)


def test_what_editors_and_shells_write_is_read(env_file: Path) -> None:
    text = f"\ufeffSHOP_PORT = 1234 # mine\r\n\r\nexport SHOP_TOKEN='{SECRET}'\r\n"
    env_file.write_bytes(text.encode())
    loaded = settings.load(Shop, env_file)
    assert (loaded.shop_port, loaded.shop_token.get_secret_value()) == (1234, SECRET)


KEY = "k" * 16
IMPOSSIBLE: dict[type[ServiceSettings], list[tuple[str, str]]] = {
    backend.Settings: [
        *(("BACKEND_HOST", value) for value in ("http://0.0.0.0", "127.0.0.1:8000", "a b")),
        *(("BACKEND_PORT", value) for value in ("0", "70000", "-1", "8000.5")),
        ("BACKEND_API_KEYS", ","),
        ("BACKEND_API_KEYS", f"a:{KEY},b:{KEY}"),
        ("BACKEND_API_KEYS", f"a:{KEY},a:{KEY}2"),
        ("BACKEND_API_KEYS", f"a:{KEY} {KEY}"),
        ("BACKEND_API_KEYS", "a:ключ-из-букв-которых-нет-в-заголовках"),
        ("BACKEND_GPU_SERVERS", "http://a:8100 http://b:8100"),
        ("BACKEND_GPU_SERVERS", "http://a:81000"),
        ("BACKEND_GPU_SERVERS", "http://a:0"),
        ("BACKEND_GPU_SERVERS", "http://"),
        ("BACKEND_GPU_TOKEN", "two words"),
        ("BACKEND_CORS_ORIGINS", "https://example.org/app"),
        ("BACKEND_CORS_ORIGINS", "example.org"),
        ("BACKEND_CORS_ORIGINS", "https://a.org https://b.org"),
        ("BACKEND_PUBLIC_URL", "easel.example.org"),
        ("BACKEND_PUBLIC_URL", "https://me:secret@example.org"),
        ("BACKEND_ADVERTISE_URL", "10.0.0.5:8000"),
        ("BACKEND_IMAGES_URL", "file://data/images"),
        ("BACKEND_RESULT_TTL_HOURS", "nan"),
        ("BACKEND_RESULT_TTL_HOURS", "1e300"),
        ("BACKEND_GENERATION_TIMEOUT_S", "inf"),
        ("BACKEND_NO_GPU_PATIENCE_S", "-5"),
        ("BACKEND_DAILY_IMAGES", "-1"),
        ("EASEL_WORKFLOWS_DIR", "~nobody-of-this-name/modes"),
    ],
    gpu_server.Settings: [
        ("GPU_HOST", "127.0.0.1:8100"),
        ("GPU_TOKEN", "two words"),
        ("GPU_JOB_TIMEOUT_S", "nan"),
        ("GPU_RESULT_TTL_S", "inf"),
        ("GPU_SAFETY_STRICTNESS", "nan"),
        ("COMFYUI_PORT", "0"),
        ("COMFYUI_URL", "http://a b"),
        ("COMFYUI_URL", "http://a:99999"),
    ],
    telegram_bot.Settings: [
        ("BOT_ALLOWED_USERS", ","),
        ("BOT_ALLOWED_USERS", "0"),
        ("BOT_ALLOWED_USERS", "1 2"),
        ("BOT_ADMINS", "@me"),
        ("BOT_BACKEND_URL", "127.0.0.1:8000"),
        ("BOT_BACKEND_KEY", "two words"),
        ("BOT_WEBHOOK_URL", "https://me:secret@example.org/hook"),
        ("BOT_WEBHOOK_HOST", "https://example.org"),
        ("BOT_API_TIMEOUT_S", "nan"),
        ("BOT_API_BASE_URL", "http://127.0.0.1:8081"),
    ],
}


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(k, *pair) for k, pairs in IMPOSSIBLE.items() for pair in pairs]
)
def test_a_value_that_cannot_work_is_refused_by_name(
    env_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[ServiceSettings],
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: ") as refused:
        settings.load(kind, env_file)
    assert KEY not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_values_are_brought_into_the_form_that_works(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("BACKEND_CORS_ORIGINS", "https://Example.org:443/, http://localhost:3000")
    monkeypatch.setenv("BACKEND_GPU_SERVERS", "http://a:8100/ ,http://a:8100")
    monkeypatch.setenv("EASEL_WORKFLOWS_DIR", "~/modes")
    loaded = settings.load(backend.Settings, env_file)
    assert loaded.backend_cors_origins == ["https://example.org", "http://localhost:3000"]
    assert loaded.backend_gpu_servers == ["http://a:8100"]
    assert loaded.easel_workflows_dir == Path("/home/me/modes")
