"""No update is lost to a `kill -9`, and none is handled twice."""

from tests.services import until
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, Person, Stack, photo


def test_an_update_served_twice_is_one_picture(ann: Person, stack: Stack) -> None:
    stack.fault("duplicate_update", count=1)
    sent = ann.says(f"one swan {SMALL}")
    picture = ann.gets_picture(after=sent)
    stack.fault("stale_update")
    asked = ann.says("/help")
    ann.reads("Under a picture", after=asked)
    assert len(stack.generations(ann.id)) == 1
    assert ann.pictures(sent) == [picture["message_id"]]


def test_a_prompt_sent_while_the_bot_is_down_is_drawn_when_it_is_back(
    ann: Person, bot: Service, stack: Stack
) -> None:
    bot.kill()
    sent = ann.says(f"an early bird {SMALL}")
    stack.restart(bot)
    ann.gets_picture(after=sent)
    ann.only_picture(sent)


def test_an_album_is_asked_about_though_the_bot_was_killed_while_it_came(
    ann: Person, bot: Service, stack: Stack
) -> None:
    query, hers = "SELECT count(*) FROM albums WHERE group_id GLOB ?", f"{ann.id}/*"
    sent = ann.sends(photos=[photo(320, 240 + 80 * i) for i in range(3)])
    with stack.bots_database() as known:
        until(lambda: known.count(query, hers) == 3, "the bot has them")
    bot.kill()
    assert not ann.from_bot(sent)
    stack.restart(bot)
    ann.reads("I got 3 photos. Use:", after=sent)
