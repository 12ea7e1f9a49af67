"""The entry points: /start, /help, /cancel, and messages that the bot does not support."""

from tests.telegram_bot.stack import Person, Stack, buttons, words


def test_start_offers_every_mode_of_the_backend(ann: Person) -> None:
    ann.says("/start")
    hello = ann.reads("I turn words and photos into pictures")
    assert "For now they are sketches" in words(hello)
    assert buttons(hello) == [
        "🎨 Free generation",
        "🖼 Restyle photo",
        "🖼 Upscale",
        "🖼 Cut out",
        "⚙️ Settings",
        "❓ Help",
    ]


def test_people_with_a_russian_telegram_are_greeted_in_russian(masha: Person) -> None:
    masha.says("/start")
    hello = masha.reads("Я превращаю слова и фото в картинки")
    assert "Пока это наброски" in words(hello)
    assert buttons(hello)[:2] == ["🎨 Свободная генерация", "🖼 Стилизация фото"]


def test_help_explains_every_sign_in_both_languages(ann: Person, masha: Person) -> None:
    ann.says("/help")
    masha.says("/help")
    for shown in (words(ann.reads("Under a picture")), words(masha.reads("Под картинкой"))):
        for sign in "🔁🎲🌱🖼📄📋⭐🚩🗑":
            assert sign in shown
        assert "--seed 42 --size 3:2 --style anime" in shown


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


def test_an_answer_that_is_no_photo_is_explained(ann: Person) -> None:
    ann.sends(document=b"%PDF-1.7", file_name="letter.pdf")
    ann.reads("I can use photos and image files")
    ann.says("/nonsense")
    ann.reads("I don't know that one")
