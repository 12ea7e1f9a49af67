"""Restyling a photo: style, strength, prompt and albums, in private and in a group."""

import pytest

from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, photo, words


@pytest.mark.parametrize(
    ("who", "style", "strengths", "draw"),
    [
        ("ann", "Realism", ["Loosely", "Medium", "Closely"], "▶️ Draw it"),
        ("masha", "Реализм", ["Свободно", "Средне", "Точно"], "▶️ Нарисовать"),
    ],
)
def test_a_photo_is_restyled_by_style_strength_and_no_words(
    who: str, style: str, strengths: list[str], draw: str, request: pytest.FixtureRequest
) -> None:
    person: Person = request.getfixturevalue(who)
    sent = person.sends(photo=photo())
    menu = person.sees(lambda m: f"✅ {style}" in buttons(m), "the styles", sent)
    person.presses(menu, f"✅ {style}")
    menu = person.sees(lambda m: strengths[1] in buttons(m), "the strengths", sent)
    assert buttons(menu)[:3] == strengths
    person.presses(menu, strengths[2])
    menu = person.sees(lambda m: draw in buttons(m), "the offer to draw", sent)
    person.presses(menu, draw)
    picture = person.gets_picture(after=sent)
    assert picture["message_id"] == menu["message_id"]
    assert words(picture).startswith(style)
    assert "the same subject" not in words(picture)


def test_an_image_file_with_all_answers_in_its_caption_is_drawn_at_once(
    ann: Person, stack: Stack
) -> None:
    sent = ann.sends(
        document=photo(form="PNG"),
        file_name="hill.png",
        caption="a volcano --style anime --strength 0.6 --seed 7",
    )
    picture = ann.gets_picture(after=sent)
    assert words(picture).startswith("Anime")
    [generation] = stack.generations(ann.id)
    assert generation["parameters"]["strength"] == 0.6
    assert generation["prompt"] == "a volcano"
    assert generation["seed"] == 7


def test_words_after_a_photo_are_what_the_new_picture_shows(ann: Person, stack: Stack) -> None:
    sent = ann.sends(photo=photo())
    ann.presses(ann.sees(lambda m: "Lux" in buttons(m), "styles", sent), "Lux")
    ann.presses(ann.sees(lambda m: "Medium" in buttons(m), "strengths", sent), "Medium")
    ann.reads("Add words", after=sent)
    told = ann.says(f"a golden desert {SMALL}")
    picture = ann.gets_picture(after=told)
    assert "a golden desert" in words(picture)
    assert stack.generations(ann.id)[0]["mode"] == "restyle"


def test_an_album_asks_which_photo(ann: Person) -> None:
    sent = ann.sends(photos=[photo(320, 240 + 80 * i) for i in range(4)], caption="a forest")
    menu = ann.reads("I got 4 photos. Use:", after=sent)
    assert buttons(menu) == ["1", "2", "3", "4", "✖️ Cancel"]
    ann.presses(menu, "3")
    ann.presses(ann.sees(lambda m: "Anime" in buttons(m), "styles", sent), "Anime")
    ann.presses(ann.sees(lambda m: "Closely" in buttons(m), "strengths", sent), "Closely")
    assert "a forest" in words(ann.gets_picture(after=sent))


def test_an_album_is_counted_in_russian(masha: Person) -> None:
    masha.sends(photos=[photo(), photo(300, 300)])
    masha.reads("Пришло 2 фото")


def test_a_photo_of_an_album_that_mentions_the_bot_in_a_group_is_taken(alex: Person) -> None:
    sent = alex.sends(photos=[photo(), photo(300, 300)], caption="@easel_local_bot a forest")
    menu = alex.sees(lambda m: "Anime" in buttons(m), "the styles", sent)
    alex.presses(menu, "✖️ Cancel")


def test_a_menu_in_a_group_never_takes_the_photo_sent_in_private(
    alex: Person, stack: Stack
) -> None:
    sent = alex.sends(photo=photo(), caption="@easel_local_bot")
    menu = alex.sees(lambda m: "Lux" in buttons(m), "the styles", sent)
    private = stack.person("en", alex.id)
    mine = private.sends(photo=photo(300, 300))
    private.sees(lambda m: "Lux" in buttons(m), "the styles", mine)
    assert alex.presses(menu, "Lux")["answer"] == "Send the photo again, please."
    private.says("/cancel")
    private.reads("OK, forgotten.", after=mine)


def test_a_photo_in_a_group_is_restyled_on_request(alex: Person, stack: Stack) -> None:
    sent = alex.sends(photo=photo())
    asked = alex.says(f"/restyle --style anime --strength 0.6 {SMALL}", reply_to=sent)
    picture = alex.gets_picture(after=asked)
    assert words(picture).startswith("Anime")
    assert [m for m in alex.from_bot(after=sent) if m["message_id"] < asked] == []


@pytest.mark.parametrize("command", ["/restyle", "/restyle@easel_local_bot", "/draw"])
@pytest.mark.parametrize("who", ["ann", "alex"])
def test_a_command_in_a_caption_restyles_the_photo_with_the_words_after_it(
    who: str, command: str, stack: Stack, request: pytest.FixtureRequest
) -> None:
    person: Person = request.getfixturevalue(who)
    caption = f"{command}\nas a watercolour --style anime --strength 0.5"
    person.gets_picture(after=person.sends(photo=photo(), caption=caption))
    newest = stack.generations(person.id)[0]
    assert (newest["prompt"], newest["mode"]) == ("as a watercolour", "restyle")


def test_a_command_of_another_bot_in_a_caption_is_not_for_this_one(
    alex: Person, stack: Stack
) -> None:
    before = len(stack.generations(alex.id))
    ignored = alex.sends(photo=photo(), caption="/restyle@other_bot @easel_local_bot in oil")
    answered = alex.says("/help")
    alex.reads("Under a picture", after=answered)
    assert all(m["message_id"] > answered for m in alex.from_bot(after=ignored))
    assert len(stack.generations(alex.id)) == before


def test_an_image_file_is_known_by_its_bytes_whatever_the_app_calls_it(ann: Person) -> None:
    for name in ("IMG_0001", "picture.bin", "letter.pdf"):
        sent = ann.sends(document=photo(), file_name=name)
        ann.sees(lambda m: "✅ Realism" in buttons(m), "the styles", sent)
    sent = ann.sends(document=b"no picture at all", file_name="picture.png")
    ann.reads("I can use photos and image files", after=sent)
