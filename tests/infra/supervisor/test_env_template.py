"""The host's template names what the launcher and all services read from the host's `.env`."""

import re
from pathlib import Path

from backend.settings import Settings as BackendSettings
from gpu_server.settings import Settings as GpuSettings
from infra.supervisor.host import FILE_PREFIXES, HOST_SETTINGS
from telegram_bot.settings import Settings as BotSettings

ROOT = Path(__file__).parents[3]
ENVIRONMENT_ONLY = {"EASEL_SERVICE_TABLE", "EASEL_PYTHON", "EASEL_VENV"}


def test_the_template_names_every_setting_of_the_host_and_no_other() -> None:
    text = (ROOT / ".env.template").read_text("utf-8")
    named = re.findall(r"^# ([A-Z][A-Z_]+)=", text, re.MULTILINE)
    fields = {
        name.upper()
        for service in (BackendSettings, GpuSettings, BotSettings)
        for name in service.model_fields
    }
    launcher = "".join(f.read_text("utf-8") for f in (ROOT / "infra" / "supervisor").glob("*.py"))
    read = fields | set(re.findall(r'"([A-Z]+_[A-Z_]*[A-Z])"', launcher))
    assert sorted(named) == sorted(
        name for name in read - ENVIRONMENT_ONLY if name.startswith(FILE_PREFIXES)
    )
    assert set(named) == HOST_SETTINGS
