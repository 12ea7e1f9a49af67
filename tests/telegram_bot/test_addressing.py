"""In a group the bot answers only when it is addressed."""

from tests.telegram_bot.stack import SMALL, Person, Stack, words


def test_in_a_group_the_bot_answers_only_when_it_is_addressed(alex: Person, stack: Stack) -> None:
    ignored = alex.says("what a lovely day")
    sent = alex.says(f"@easel_local_bot a bicycle {SMALL}")
    picture = alex.gets_picture(after=sent)
    assert "a bicycle" in words(picture)
    assert "@easel" not in words(picture)
    answered = alex.says(f"a tandem {SMALL}", reply_to=picture["message_id"])
    assert "a tandem" in words(alex.gets_picture(after=answered))
    replies = [m["reply_to"]["message_id"] for m in alex.from_bot(after=ignored) if m["reply_to"]]
    assert ignored not in replies
