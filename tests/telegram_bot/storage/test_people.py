"""Which people the bot can write to."""

from telegram_bot.storage.people import People
from tests.services import until
from tests.telegram_bot.stack import Person, Stack, words


def test_after_a_block_is_lifted_broadcasts_reach_the_person_again(
    ann: Person, masha: Person, stack: Stack
) -> None:
    for person in (ann, masha):
        person.says("/start")
        person.sees(words, "the menu")
        stack.telegram_post("/chat/people", user_id=person.id, blocked=True)
    with stack.bots_database() as database:
        reached = People(database)
        until(lambda: not {ann.id, masha.id} & set(reached.reachable()), "nobody is written to")
        stack.telegram_post("/chat/people", user_id=ann.id, blocked=False)
        until(lambda: ann.id in reached.reachable(), "she can be written to")
        assert masha.id not in reached.reachable()
