"""Settings of webhooks that cannot work stop the start with a sentence."""

from pathlib import Path

import pytest

from backend.settings import Settings
from tests.backend.webhooks.receiver import SECRET
from web.settings import SettingsError, load

URL, ALLOW = "BACKEND_WEBHOOK_URL", "BACKEND_WEBHOOK_ALLOW"
NAME = "BACKEND_WEBHOOK_SECRET"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({URL: "https://example.org/hook"}, NAME),
        ({URL: "http://example.org/hook", NAME: SECRET}, "https://"),
        ({URL: "http://127.0.0.1/hook", NAME: SECRET}, ALLOW),
        ({URL: "https://user:secret@example.org/", NAME: SECRET}, "password"),
        ({NAME: "whsec_short"}, "24 to 64 random bytes"),
        ({NAME: SECRET.removeprefix("whsec_")}, "whsec_"),
        ({NAME: f"{SECRET},other"}, "whsec_"),
        ({ALLOW: "http://app.lan"}, ALLOW),
        ({ALLOW: "app.lan:8080"}, ALLOW),
    ],
)
def test_a_setting_that_cannot_work_is_a_sentence(
    variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load(Settings, tmp_path / ".env")
    assert said in str(refused.value)
    assert "secret@" not in str(refused.value)


def test_hosts_that_are_named_are_taken_as_usually_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in ((URL, "http://[::1]:9/"), (NAME, SECRET), (ALLOW, "App.LAN, 0:0::1")):
        monkeypatch.setenv(name, value)
    settings = load(Settings, tmp_path / ".env")
    assert settings.backend_webhook_allow == ["app.lan", "::1"]
    assert len(settings.webhook_keys) == 1
