"""Modes of the operator's own beside Easel's: the bot offers them without a change of its code."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.telegram_bot.stack import Stack, buttons, photo, words

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def with_tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    modes = tmp_path_factory.mktemp("further") / "modes"
    for folder in (TESTS / "backend" / "workflows", TESTS / "modes"):
        shutil.copytree(folder, modes, dirs_exist_ok=True)
    further = {"EASEL_WORKFLOWS_DIR": str(modes)}
    stack = Stack(tmp_path_factory.mktemp("stack"), **further)
    stack.gpu_server.env |= further
    stack.engine.arguments += ("--checkpoint", "tiny.safetensors")
    try:
        stack.start()
        stack.start_bot()
        yield stack
    finally:
        stack.stop()


def test_plain_text_stays_in_the_last_mode_and_learns_its_options(with_tiny: Stack) -> None:
    ann = with_tiny.person("en")
    asked = ann.says("/start")
    menu = ann.sees(lambda m: "🎨 Tiny" in buttons(m), "the mode in the menu", asked)
    ann.presses(menu, "🎨 Tiny")
    for prompt in ("a pebble --steps 2", "a pea"):
        sent = ann.says(prompt)
        assert "Plain · 64×64" in words(ann.gets_picture(after=sent))
    assert [one["mode"] for one in with_tiny.generations(ann.id)] == ["tiny", "tiny"]
    sent = ann.says("a pearl --xqzw 3")
    assert "Options: --style, --seed, --steps, --count." in words(
        ann.reads("isn't an option", after=sent)
    )


def test_a_second_photo_a_mask_a_choice_and_a_switch_are_asked_for(with_tiny: Stack) -> None:
    ben = with_tiny.person("en")
    asked = ben.says("/start")
    menu = ben.sees(lambda m: "🖼 Collage" in buttons(m), "the mode in the menu", asked)
    ben.presses(menu, "🖼 Collage")
    sent = ben.sends(photo=photo())
    assert "What is laid over the first." in words(ben.reads("Now send: Second photo.", after=sent))
    sent = ben.sends(photo=photo(200, 200))
    mask = ben.reads("Now send: Mask.", after=sent)
    choice = ben.presses(mask, "⏭ Without it")
    choice = ben.sees(lambda m: "✅ Smooth" in buttons(m), "the choices", sent)
    assert [b for b in buttons(choice) if "Cancel" not in b] == ["Sharp", "✅ Smooth", "bilinear"]
    ben.presses(choice, "Sharp")
    ready = ben.sees(lambda m: "✅ Stretch" in buttons(m), "the switch", sent)
    ben.presses(ready, "✅ Stretch")
    ready = ben.sees(lambda m: "◻️ Stretch" in buttons(m), "the switch turned", sent)
    ben.presses(ready, "▶️ Draw it")
    assert "Plain" in words(ben.gets_picture(after=sent))
    (drawn,) = with_tiny.generations(ben.id)
    used = drawn["parameters"]
    assert (used["method"], used["stretch"]) == ("nearest-exact", False)


def test_a_transparent_picture_arrives_as_a_file(with_tiny: Stack) -> None:
    eva = with_tiny.person("ru")
    asked = eva.says("/start")
    menu = eva.sees(lambda m: "🖼 Cutaway" in buttons(m), "the mode in the menu", asked)
    eva.presses(menu, "🖼 Cutaway")
    sent = eva.sends(photo=photo())
    eva.reads("Теперь пришлите: Mask.", after=sent)
    sent = eva.sends(photo=photo())
    eva.sees(lambda m: m.get("document"), "the picture as a file", sent)
