"""The picture of a finished generation, as Telegram takes it."""

import pytest

from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, words


def without_previews(person: Person) -> None:
    """Switch previews off, so that the only photo put into a message is the picture."""
    menu = person.reads("Settings", after=person.says("/settings"))
    person.presses(menu, "Live preview: on")
    person.sees(lambda m: "Live preview: off" in buttons(m), "the switch")


def test_a_photo_that_telegram_refuses_comes_as_a_file(ann: Person, stack: Stack) -> None:
    without_previews(ann)
    stack.fault("photo_refused", "editMessageMedia", chat_id=ann.id, count=1)
    sent = ann.says(f"a very long wall --seed 6 {SMALL}")
    shown = ann.sees(lambda m: m.get("document"), "the file", sent)
    assert shown["file_name"] == "easel-6.png"
    assert words(shown).startswith("Realism · 256×256 · seed 6")
    assert "🔁 Again" in buttons(shown)
    assert [m["message_id"] for m in ann.from_bot(after=sent)] == [shown["message_id"]]


def test_a_picture_that_telegram_rejects_in_every_form_is_not_called_lost(
    ann: Person, stack: Stack
) -> None:
    without_previews(ann)
    stack.fault("photo_refused", "editMessageMedia", chat_id=ann.id, count=2)
    sent = ann.says(f"a cursed wall --seed 7 {SMALL}")
    told = ann.reads("The picture is ready, but Telegram doesn't accept it", after=sent)
    ann.presses(told, "📄 PNG file")
    file = ann.sees(lambda m: m.get("document"), "the file", sent)
    assert file["file_name"] == "easel-7.png"


@pytest.mark.parametrize("letters", ["😀" * 520, "𝓯𝓸𝔁 " * 60])
def test_a_prompt_of_wide_letters_fits_into_its_caption(ann: Person, letters: str) -> None:
    """Telegram counts each of them twice."""
    sent = ann.says(f"{letters} {SMALL}")
    picture = ann.gets_picture(after=sent)
    assert letters[:100] in words(picture)
    assert "📋 Copy prompt" in buttons(picture)
