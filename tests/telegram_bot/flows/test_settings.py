"""The /settings command: switches and the language."""

import io

from PIL import Image

from tests.telegram_bot.stack import Person, buttons, words


def test_settings_are_switched_in_place_and_change_what_comes(ann: Person) -> None:
    ann.says("/settings")
    menu = ann.reads("Settings")
    ann.presses(menu, "Pictures as PNG files: off")
    ann.sees(lambda m: "Pictures as PNG files: on" in buttons(m), "the switch")
    sent = ann.says("a stone --size 1:1")
    file = ann.sees(lambda m: m.get("document"), "a file", sent)
    assert file["file_name"].endswith(".png")
    assert Image.open(io.BytesIO(ann.bytes_of(file["document"]))).format == "PNG"
    assert len(ann.from_bot(after=sent)) == 1


def test_the_language_can_differ_from_telegrams(ann: Person) -> None:
    ann.says("/settings")
    menu = ann.reads("Settings")
    ann.presses(menu, "Русский")
    ann.sees(lambda m: "Настройки" in words(m) and "✅ Русский" in buttons(m), "Russian settings")
    sent = ann.says("/start")
    ann.reads("Я превращаю", after=sent)
