"""Free generation: from a prompt or the menu to the image, in both languages."""

import pytest

from tests.telegram_bot.stack import SMALL, Person, Stack, buttons, words

ACTIONS = {
    "en": [
        "🔁 Again",
        "🎲 Variation",
        "🌱 Same seed, edit",
        "🖼 Restyle this",
        "📄 PNG file",
        "📋 Copy prompt",
        "⭐ Favourite",
        "🚩 Report",
        "🗑 Delete",
    ],
    "ru": [
        "🔁 Ещё",
        "🎲 Вариация",
        "🌱 Тот же сид",
        "🖼 Стилизовать",
        "📄 PNG",
        "📋 Промпт",
        "⭐ В избранное",
        "🚩 Пожаловаться",
        "🗑 Удалить",
    ],
}


@pytest.mark.parametrize(
    ("who", "free", "style", "asked", "seed"),
    [
        ("ann", "🎨 Free generation", "Anime", "Describe the picture", "seed 42"),
        ("masha", "🎨 Свободная генерация", "Аниме", "Опишите картинку", "сид 42"),
    ],
)
def test_from_the_menu_it_is_three_taps_to_a_picture_in_one_message(
    who: str, free: str, style: str, asked: str, seed: str, request: pytest.FixtureRequest
) -> None:
    person: Person = request.getfixturevalue(who)
    person.says("/start")
    menu = person.sees(lambda m: free in buttons(m), "the menu")
    person.presses(menu, free)
    menu = person.sees(lambda m: style in buttons(m), "the styles")
    assert any("2:3" in button for button in buttons(menu))
    person.presses(menu, style)
    person.reads(asked)
    sent = person.says(f"рыжая лиса --seed 42 {SMALL}")
    picture = person.gets_picture(after=sent)
    assert words(picture).startswith(f"{style} · ")
    assert seed in words(picture)
    assert "рыжая лиса" in words(picture)
    assert buttons(picture) == ACTIONS["en" if who == "ann" else "ru"]
    assert len(person.from_bot(after=sent)) == 1
    assert picture["reply_to"]["message_id"] == sent


def test_a_plain_text_is_a_prompt_in_the_style_used_last(ann: Person) -> None:
    first = ann.says(f"a lighthouse --style lux {SMALL}")
    assert words(ann.gets_picture(after=first)).startswith("Lux")
    ann.says("/start")
    menu = ann.reads("I turn words")
    ann.presses(menu, "🎨 Free generation")
    ann.presses(ann.sees(lambda m: "Anime" in buttons(m), "styles"), "Anime")
    ann.reads("Describe the picture")
    again = ann.says(f"a lighthouse at night {SMALL}")
    assert words(ann.gets_picture(after=again)).startswith("Anime")
    once_more = ann.says(f"a lighthouse at dawn {SMALL}")
    assert words(ann.gets_picture(after=once_more)).startswith("Anime")


def test_the_aspect_ratio_chosen_in_the_menu_is_drawn(ann: Person) -> None:
    ann.says("/draw")
    menu = ann.reads("Describe the picture")
    ann.presses(menu, "▭ 3:2")
    ann.sees(lambda m: "✅ 3:2" in buttons(m), "the mark at 3:2")
    sent = ann.says("a bridge")
    picture = ann.gets_picture(after=sent)
    assert "1248×832" in words(picture)
    assert (picture["width"], picture["height"]) == (1248, 832)


def test_the_message_shows_a_progress_bar_and_a_preview_before_the_picture(
    ann: Person, stack: Stack
) -> None:
    stack.slow_engine(1.0)
    try:
        sent = ann.says("a slow castle --size 1:1")
        drawing = ann.sees(lambda m: "Drawing" in words(m) and "▓" in words(m), "a bar", sent)
        assert "%" in words(drawing)
        assert buttons(drawing) == ["✖️ Cancel"]
        preview = ann.sees(lambda m: m.get("photo") and "Drawing" in words(m), "a preview", sent)
    finally:
        stack.slow_engine(0)
    picture = ann.gets_picture(after=sent)
    assert picture["message_id"] == drawing["message_id"] == preview["message_id"]
    assert len(ann.from_bot(after=sent)) == 1


def test_the_longest_prompt_is_named_with_its_length(ann: Person, masha: Person) -> None:
    ann.says("a" * 2300)
    ann.reads("That's 2,300 characters; the limit is 1,500.")
    masha.says("я" * 1502)
    masha.reads("Это 1502 знака, а предел — 1500.")


@pytest.mark.parametrize(
    ("who", "refusal", "edit"),
    [
        ("ann", "this server doesn't allow sexual content", "✏️ Edit"),
        ("masha", "здесь не разрешено: сексуальное содержание", "✏️ Изменить"),
    ],
)
def test_a_refusal_names_the_category_and_keeps_the_prompt_for_editing(
    who: str, refusal: str, edit: str, request: pytest.FixtureRequest
) -> None:
    person: Person = request.getfixturevalue(who)
    sent = person.says("explicit porn --seed 4")
    refused = person.reads(refusal, after=sent)
    assert buttons(refused) == [edit]
    person.presses(refused, edit)
    person.sees(lambda m: m["message_id"] > refused["message_id"], "the question", sent)
    again = person.says(f"a teapot {SMALL}")
    assert "4" in words(person.gets_picture(after=again))


def test_wrong_options_are_explained_and_nothing_is_drawn(ann: Person, stack: Stack) -> None:
    ann.says("a fox --seed x --size 7:1 --style anme --sede 3")
    answer = words(ann.reads("Nothing was drawn"))
    for part in ("--seed x", "--size 7:1", "--style anime", "did you mean --seed"):
        assert part in answer
    assert stack.generations(ann.id) == []


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ({"text": "лиса --size 2048x2048"}, "--size: возможно 1024x1024"),
        (
            {"document": b"GIF89a", "file_name": "a.gif", "caption": "--style anime"},
            "Это изображение не подходит. Пришлите другое",
        ),
    ],
)
def test_what_the_backend_refuses_is_told_in_the_persons_own_language(
    masha: Person, sent: dict[str, object], told: str
) -> None:
    asked = masha.sends(**sent)
    if "document" in sent:
        menu = masha.sees(lambda m: "Точно" in buttons(m), "the strengths", asked)
        masha.presses(menu, "Точно")
        masha.presses(masha.sees(lambda m: "▶️ Нарисовать" in buttons(m), "offer"), "▶️ Нарисовать")
    refused = words(masha.reads(told, after=asked))
    assert "pixels" not in refused
    assert "image" not in refused


def test_a_command_may_end_its_line(ann: Person, stack: Stack) -> None:
    ann.gets_picture(after=ann.says(f"/draw\nfox\nin the deep snow {SMALL}"))
    assert stack.generations(ann.id)[0]["prompt"] == "fox\nin the deep snow"
