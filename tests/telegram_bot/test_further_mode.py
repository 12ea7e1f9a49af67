"""A mode of the operator's own beside Easel's: the bot offers it without a change of its code."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.telegram_bot.stack import Stack, buttons, words

WORKFLOWS = Path(__file__).parents[1] / "backend" / "workflows"


@pytest.fixture
def with_tiny(tmp_path: Path) -> Iterator[Stack]:
    further = {"EASEL_WORKFLOWS_DIR": str(WORKFLOWS)}
    stack = Stack(tmp_path, **further)
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
