"""The buttons of a generation: while it runs, and under its images."""

import io

from PIL import Image

from tests.signatures import read_manifest
from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, is_finished, words


def test_several_pictures_of_one_prompt_are_paged_in_their_one_message(ann: Person) -> None:
    sent = ann.says(f"two boats --count 2 --seed 5 {SMALL}")
    picture = ann.gets_picture(after=sent)
    assert "1/2" in buttons(picture)
    assert "seed 5" in words(picture)
    ann.presses(picture, "▶️")
    second = ann.sees(lambda m: "seed 6" in words(m), "the second picture", sent)
    assert second["message_id"] == picture["message_id"]
    assert second["photo"] != picture["photo"]


def test_cancel_stops_the_drawing_and_says_so(ann: Person, stack: Stack) -> None:
    stack.slow_engine(2.0)
    try:
        sent = ann.says("a long wait")
        drawing = ann.reads("Drawing", after=sent)
        assert ann.presses(drawing, "✖️ Cancel")["answer"] == "Cancelling…"
        stopped = ann.reads("Cancelled.", after=sent)
    finally:
        stack.slow_engine(0)
    assert "a long wait" in words(stopped)
    assert stopped["message_id"] == drawing["message_id"]
    assert stack.generations(ann.id)[0]["status"] == "cancelled"
    ann.presses(stopped, "🔁 Try again")
    picture = ann.gets_picture(after=sent)
    assert picture["message_id"] == drawing["message_id"]


def test_same_seed_with_other_words(ann: Person, stack: Stack) -> None:
    picture = ann.gets_picture(after=ann.says("a red door --seed 99 --size 2:3 --style anime"))
    ann.presses(picture, "🌱 Same seed, edit")
    ann.reads("Seed 99, the style and the size stay")
    sent = ann.says("a blue door")
    second = ann.gets_picture(after=sent)
    assert "seed 99" in words(second)
    assert words(second).startswith("Anime")
    newest = stack.generations(ann.id)[0]
    assert newest["prompt"] == "a blue door"
    assert (newest["parameters"]["width"], newest["parameters"]["height"]) == (832, 1216)


def test_again_variation_and_restyle_work_on_the_picture_under_the_button(
    ann: Person, stack: Stack
) -> None:
    picture = ann.gets_picture(after=ann.says(f"a brown bear --seed 10 {SMALL}"))
    other = ann.gets_picture(after=ann.says(f"a white goose --seed 11 {SMALL}"))
    ann.presses(picture, "🔁 Again")
    again = ann.gets_picture(after=other["message_id"])
    assert "a brown bear" in words(again)
    assert "seed 10" not in words(again)
    ann.presses(picture, "🎲 Variation")
    ann.gets_picture(after=again["message_id"])
    newest = stack.generations(ann.id)[0]
    assert (newest["mode"], newest["prompt"]) == ("restyle", "a brown bear")
    ann.presses(picture, "🖼 Restyle this")
    ann.sees(lambda m: "Lux" in buttons(m) and not m.get("photo"), "styles", again["message_id"])


def test_png_file_is_lossless_and_the_prompt_can_be_copied(ann: Person) -> None:
    picture = ann.gets_picture(after=ann.says(f"a grey cat --seed 3 {SMALL}"))
    assert ann.presses(picture, "📋 Copy prompt")["copied"] == "a grey cat"
    assert ann.presses(picture, "📄 PNG file")["answer"] == "Sending the file…"
    file = ann.sees(lambda m: m.get("document"), "the file")
    assert file["file_name"] == "easel-3.png"
    data = ann.bytes_of(file["document"])
    assert Image.open(io.BytesIO(data)).format == "PNG"
    assert read_manifest(data, "image/png")[0] == "Valid"
    assert b"grey cat" not in data
    shown = Image.open(io.BytesIO(ann.bytes_of(picture["photo"])))
    assert shown.format == "JPEG"


def test_a_prompt_too_long_for_the_copy_button_comes_as_text(ann: Person) -> None:
    prompt = "a market " + "with many apples " * 30
    picture = ann.gets_picture(after=ann.says(prompt))
    ann.presses(picture, "📋 Copy prompt")
    ann.sees(lambda m: words(m) == prompt.strip(), "the whole prompt")


def test_delete_asks_and_then_removes_picture_and_message(ann: Person, stack: Stack) -> None:
    picture = ann.gets_picture(after=ann.says(f"a mistake {SMALL}"))
    ann.presses(picture, "🗑 Delete")
    asked = ann.sees(lambda m: "🗑 Really delete" in buttons(m), "the question")
    ann.presses(asked, "Keep")
    kept = ann.sees(is_finished, "the buttons again")
    ann.presses(kept, "🗑 Delete")
    ann.presses(ann.sees(lambda m: "🗑 Really delete" in buttons(m), "question"), "🗑 Really delete")
    ann.sees_no(picture["message_id"])
    assert stack.generations(ann.id) == []


def test_keeping_the_second_of_two_pictures_keeps_its_buttons(ann: Person) -> None:
    sent = ann.says(f"two boats --count 2 --seed 5 {SMALL}")
    ann.presses(ann.gets_picture(after=sent), "▶️")
    second = ann.sees(lambda m: "2/2" in buttons(m), "the second", sent)
    ann.presses(second, "🗑 Delete")
    ann.presses(ann.sees(lambda m: "Keep" in buttons(m), "the question", sent), "Keep")
    second = ann.sees(lambda m: "2/2" in buttons(m), "the buttons again", sent)
    ann.presses(second, "📄 PNG file")
    assert ann.sees(lambda m: m.get("document"), "the file")["file_name"] == "easel-6.png"


def test_a_report_by_anybody_is_counted_for_the_admins(
    admin: Person, alex: Person, maria: Person
) -> None:
    sent = alex.says(f"/draw a strange thing {SMALL}")
    picture = alex.gets_picture(after=sent)
    answer = maria.presses(picture, "🚩 Report")
    assert answer["alert"]
    assert "Операторы увидят" in answer["answer"]
    assert maria.presses(picture, "🚩 Report")["answer"] == "Вы уже пожаловались."
    asked = admin.says("/stats")
    assert "🚩" in words(admin.reads("Reports", after=asked))
