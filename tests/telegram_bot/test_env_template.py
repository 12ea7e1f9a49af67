"""The template names every setting, and nothing else."""

import re

from telegram_bot.settings import ENV_FILE, Settings


def test_the_template_names_every_setting_and_no_other() -> None:
    text = ENV_FILE.with_name(".env.template").read_text("utf-8")
    named = re.findall(r"^([A-Z][A-Z_]+)=", text, re.MULTILINE)
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)


def test_the_template_as_it_is_changes_nothing() -> None:
    template = ENV_FILE.with_name(".env.template")
    assert Settings(_env_file=template) == Settings(_env_file=None)
