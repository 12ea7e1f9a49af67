"""Each screen of the bot, as people see it, in both languages."""

import io

import pytest
from PIL import Image

from tests.signatures import read_manifest
from tests.telegram_bot.stack import (
    TOKEN,
    Person,
    Stack,
    buttons,
    is_finished,
    photo,
    words,
)

SMALL = "--size 256x256"
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


def test_start_offers_every_mode_of_the_backend(ann: Person) -> None:
    ann.says("/start")
    hello = ann.reads("I turn words and photos into pictures")
    assert "For now they are sketches" in words(hello)
    assert buttons(hello) == [
        "🎨 Free generation",
        "🖼 Restyle photo",
        "⚙️ Settings",
        "❓ Help",
    ]


def test_the_bot_greets_in_russian_whoever_has_russian_telegram(masha: Person) -> None:
    masha.says("/start")
    hello = masha.reads("Я превращаю слова и фото в картинки")
    assert "Пока это наброски" in words(hello)
    assert buttons(hello)[:2] == ["🎨 Свободная генерация", "🖼 Стилизация фото"]


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


def test_the_message_shows_line_bar_and_live_preview_before_the_picture(
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


def test_several_pictures_of_one_prompt_are_paged_in_their_one_message(ann: Person) -> None:
    sent = ann.says(f"two boats --count 2 --seed 5 {SMALL}")
    picture = ann.gets_picture(after=sent)
    assert "1/2" in buttons(picture)
    assert "seed 5" in words(picture)
    ann.presses(picture, "▶️")
    second = ann.sees(lambda m: "seed 6" in words(m), "the second picture", sent)
    assert second["message_id"] == picture["message_id"]
    assert second["photo"] != picture["photo"]


def test_help_explains_every_sign_in_both_languages(ann: Person, masha: Person) -> None:
    ann.says("/help")
    masha.says("/help")
    for shown in (words(ann.reads("Under a picture")), words(masha.reads("Под картинкой"))):
        for sign in "🔁🎲🌱🖼📄📋⭐🚩🗑":
            assert sign in shown
        assert "--seed 42 --size 3:2 --style anime" in shown


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


def test_the_language_can_be_chosen_against_telegrams(ann: Person) -> None:
    ann.says("/settings")
    menu = ann.reads("Settings")
    ann.presses(menu, "Русский")
    ann.sees(lambda m: "Настройки" in words(m) and "✅ Русский" in buttons(m), "Russian settings")
    sent = ann.says("/start")
    ann.reads("Я превращаю", after=sent)


def test_history_pages_through_pictures_in_one_message(ann: Person) -> None:
    ann.says("/history")
    ann.reads("No pictures yet")
    for prompt in (f"one pear --seed 1 {SMALL}", f"two pears --seed 2 {SMALL}"):
        ann.gets_picture(after=ann.says(prompt))
    asked = ann.says("/history")
    page = ann.sees(lambda m: m.get("photo"), "a picture", asked)
    assert "two pears" in words(page)
    assert "1/2" in buttons(page)
    ann.presses(page, "▶️")
    older = ann.sees(lambda m: "one pear" in words(m), "the older picture", asked)
    assert older["message_id"] == page["message_id"]
    assert len(ann.from_bot(after=asked)) == 1


def test_favourites_are_marked_and_found_again(ann: Person) -> None:
    first = ann.gets_picture(after=ann.says(f"a keeper {SMALL}"))
    ann.gets_picture(after=ann.says(f"an ordinary one {SMALL}"))
    assert ann.presses(first, "⭐ Favourite")["answer"] == "⭐ In your favourites"
    ann.sees(lambda m: "⭐ Unfavourite" in buttons(m), "the mark")
    asked = ann.says("/history")
    page = ann.sees(lambda m: m.get("photo"), "a picture", asked)
    ann.presses(page, "⭐ Favourites only")
    only = ann.sees(lambda m: "a keeper" in words(m), "the favourite", asked)
    assert "⭐" in words(only)
    assert not any("1/" in button for button in buttons(only))


@pytest.mark.parametrize(
    ("who", "told", "forget", "sure", "done"),
    [
        ("ann", "for 7 days", "🗑 Delete my data", "🗑 Delete everything", "Deleted: 1 picture "),
        ("masha", "7 дней", "🗑 Удалить мои данные", "🗑 Удалить всё", "Удалено: 1 картинка"),
    ],
)
def test_delete_my_data_goes_through_to_the_backend(
    who: str,
    told: str,
    forget: str,
    sure: str,
    done: str,
    request: pytest.FixtureRequest,
    stack: Stack,
) -> None:
    person: Person = request.getfixturevalue(who)
    person.gets_picture(after=person.says(f"a secret garden {SMALL}"))
    assert len(stack.generations(person.id)) == 1
    person.says("/privacy")
    notice = person.reads(told)
    person.presses(notice, forget)
    person.presses(person.sees(lambda m: sure in buttons(m), "the question"), sure)
    person.reads(done)
    assert stack.generations(person.id) == []


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


def test_the_cancel_command_stops_what_is_under_way(masha: Person, stack: Stack) -> None:
    masha.says("/cancel")
    masha.reads("Отменять нечего")
    stack.slow_engine(2.0)
    try:
        sent = masha.says("долгая картинка")
        masha.reads("Рисую", after=sent)
        masha.says("/cancel")
        masha.reads("Отменено.", after=sent)
    finally:
        stack.slow_engine(0)


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


def test_an_answer_that_is_no_photo_is_explained(ann: Person) -> None:
    ann.sends(document=b"%PDF-1.7", file_name="letter.pdf")
    ann.reads("I can use photos and image files")
    ann.says("/nonsense")
    ann.reads("I don't know that one")


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


def test_options_with_faults_are_explained_and_nothing_is_drawn(ann: Person, stack: Stack) -> None:
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


def test_keeping_a_picture_gives_back_the_buttons_of_the_place_it_was_pressed_at(
    ann: Person,
) -> None:
    for number in (1, 2):
        ann.gets_picture(after=ann.says(f"pear {number} {SMALL}"))
    asked = ann.says("/history")
    page = ann.sees(lambda m: "1/2" in buttons(m), "the newest", asked)
    ann.presses(page, "▶️")
    page = ann.sees(lambda m: "2/2" in buttons(m), "the older", asked)
    ann.presses(page, "🗑 Delete")
    page = ann.sees(lambda m: "Keep" in buttons(m), "the question", asked)
    ann.presses(page, "Keep")
    page = ann.sees(lambda m: "2/2" in buttons(m), "the same page", asked)
    assert "pear 1" in words(page)


def test_keeping_the_second_of_two_pictures_keeps_its_buttons(ann: Person) -> None:
    sent = ann.says(f"two boats --count 2 --seed 5 {SMALL}")
    ann.presses(ann.gets_picture(after=sent), "▶️")
    second = ann.sees(lambda m: "2/2" in buttons(m), "the second", sent)
    ann.presses(second, "🗑 Delete")
    ann.presses(ann.sees(lambda m: "Keep" in buttons(m), "the question", sent), "Keep")
    second = ann.sees(lambda m: "2/2" in buttons(m), "the buttons again", sent)
    ann.presses(second, "📄 PNG file")
    assert ann.sees(lambda m: m.get("document"), "the file")["file_name"] == "easel-6.png"


def test_a_picture_whose_message_is_gone_is_deleted_from_the_history_without_a_complaint(
    ann: Person, stack: Stack
) -> None:
    picture = ann.gets_picture(after=ann.says(f"a mistake {SMALL}"))
    body = {"chat_id": ann.id, "message_id": picture["message_id"]}
    url = f"{stack.url['local_telegram']}/bot{TOKEN}/deleteMessage"
    assert stack.http.post(url, json=body).json()["ok"]
    asked = ann.says("/history")
    ann.presses(ann.sees(lambda m: m.get("photo"), "the page", asked), "🗑 Delete")
    page = ann.sees(lambda m: "🗑 Really delete" in buttons(m), "the question", asked)
    ann.presses(page, "🗑 Really delete")
    ann.sees_no(page["message_id"])
    later = ann.says("/history")
    ann.reads("No pictures yet", after=later)
    assert not any("Code" in words(m) for m in ann.from_bot(asked))
    assert stack.generations(ann.id) == []


def test_a_button_pressed_during_a_pause_is_answered(admin: Person, masha: Person) -> None:
    picture = masha.gets_picture(after=masha.says(f"лодка {SMALL}"))
    asked = admin.says("/pause")
    admin.reads("Paused:", after=asked)
    try:
        assert masha.presses(picture, "🔁 Ещё")["answered"]
        masha.reads("Бот на паузе", after=picture["message_id"])
    finally:
        admin.says("/resume")
        admin.reads("Open again", after=asked)


def test_a_command_of_admins_in_a_group_is_no_ones_elses_business(alex: Person) -> None:
    ignored = alex.says("/ban 1")
    answered = alex.says("/help")
    alex.reads("Under a picture", after=answered)
    assert [m["message_id"] for m in alex.from_bot(ignored) if m["message_id"] < answered] == []


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


def test_admins_see_figures_and_the_line(admin: Person) -> None:
    admin.says("/stats")
    admin.reads("People:")
    admin.says("/queue")
    assert "✅" in words(admin.reads("Waiting:"))


def test_admins_see_who_was_refused_what_and_never_the_words(admin: Person, ann: Person) -> None:
    sent = ann.says("an explicit zebra, porn")
    ann.reads("this server doesn't allow sexual content", after=sent)
    asked = admin.says("/refusals")
    told = words(admin.reads("Refused in 30 days", after=asked))
    assert f"tg{ann.id}: sexual content, 1 ×" in told
    assert "zebra" not in told


def test_a_ban_shuts_somebody_out_and_is_lifted(admin: Person, ann: Person) -> None:
    ann.says("/start")
    ann.reads("I turn words")
    admin.says(f"/ban {ann.id}")
    admin.reads(f"{ann.id} is banned")
    sent = ann.says("a picture please")
    ann.reads("You can't use this bot", after=sent)
    admin.says(f"/unban {ann.id}")
    admin.reads(f"{ann.id} may use the bot again")
    ann.gets_picture(after=ann.says(f"thank you {SMALL}"))


def test_a_broadcast_is_previewed_with_its_count_before_it_is_sent(
    admin: Person, ann: Person
) -> None:
    ann.says("/start")
    ann.reads("I turn words")
    asked = admin.says("/broadcast Maintenance at <noon>")
    preview = admin.reads("Maintenance at <noon>", after=asked)
    [send] = [button for button in buttons(preview) if button.startswith("Send to")]
    count = int(send.split()[2])
    assert count >= 2
    admin.presses(preview, send)
    ann.reads("Maintenance at <noon>")


def test_a_pause_refuses_new_requests_with_its_reason(admin: Person, masha: Person) -> None:
    asked = admin.says("/pause new GPU")
    admin.reads("Paused:", after=asked)
    sent = masha.says("лодка")
    masha.reads("Бот на паузе: new GPU", after=sent)
    admin.says("/resume")
    admin.reads("Open again", after=asked)
    masha.gets_picture(after=masha.says(f"лодка {SMALL}"))


def test_admin_commands_are_for_admins(ann: Person) -> None:
    for command in ("/stats", "/queue", "/refusals", "/ban 1", "/broadcast x", "/pause"):
        sent = ann.says(command)
        ann.reads("I don't know that one", after=sent)


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
