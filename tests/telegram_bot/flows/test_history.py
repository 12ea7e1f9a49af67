"""The /history command: paging, favourites and deleting."""

from tests.telegram_bot.stack import SMALL, TOKEN, Person, Stack, buttons, words


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
