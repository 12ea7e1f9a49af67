"""The /privacy command: what is stored, and how to delete all of it."""

import pytest

from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, Person, Stack, buttons


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


def test_a_person_who_deletes_everything_in_mid_job_gets_no_picture(
    ann: Person, bot: Service, stack: Stack
) -> None:
    stack.slow_engine(1.0)
    try:
        sent = ann.says(f"a last wish {SMALL}")
        ann.reads("Drawing", after=sent)
        ann.says("/privacy")
        ann.presses(ann.reads("Stored on this server"), "🗑 Delete my data")
        question = ann.sees(lambda m: "🗑 Delete everything" in buttons(m), "the question")
        ann.presses(question, "🗑 Delete everything")
        ann.reads("Deleted: 0 pictures")
        ann.reads("Cancelled.", after=sent)
    finally:
        stack.slow_engine(0)
    ann.gets_picture(after=ann.says(f"a first wish {SMALL}"))
    assert [g["prompt"] for g in stack.generations(ann.id)] == ["a first wish"]
