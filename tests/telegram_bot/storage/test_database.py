"""What a full disk, a damaged file and another version of it cost."""

import resource
import sqlite3
from pathlib import Path

import pytest

from telegram_bot.storage.database import Database
from tests.services import until
from tests.telegram_bot.service import Service
from tests.telegram_bot.stack import SMALL, TOKEN, Person, Stack, is_finished, words
from web.sqlite import FileRefused


def limit_files(bot: Service, size: int) -> None:
    """Let the bot's process write no file beyond this size, as on a full disk; -1: any."""
    assert bot.process is not None
    unlimited = resource.RLIM_INFINITY
    resource.prlimit(bot.process.pid, resource.RLIMIT_FSIZE, (size, unlimited))


def test_a_full_disk_delays_new_requests_and_costs_no_accepted_one(
    ann: Person, masha: Person, bot: Service, stack: Stack
) -> None:
    stack.slow_engine(0.7)
    try:
        sent = ann.says(f"a brave hen {SMALL}")
        ann.reads("Drawing", after=sent)
        limit_files(bot, 0)
        late = masha.says(f"a late hen {SMALL}")
        ann.gets_picture(after=sent)
        url = f"http://127.0.0.1:{bot.env['BOT_METRICS_PORT']}/readyz"
        answer = stack.http.get(url)
        assert answer.status_code == 503
        assert "free some space" in answer.json()["checks"]["database"]
        limit_files(bot, resource.RLIM_INFINITY)
        masha.sees(lambda m: is_finished(m) and "a late hen" in words(m), "her picture", late)
        until(lambda: stack.http.get(url).status_code == 200, "it is ready again")
    finally:
        stack.slow_engine(0)
        limit_files(bot, resource.RLIM_INFINITY)
    ann.only_picture(sent)


@pytest.mark.parametrize("cut", [0, 5000])
def test_a_damaged_file_ends_the_start_with_one_sentence(
    stack: Stack, tmp_path: Path, cut: int
) -> None:
    file = tmp_path / "telegram_bot" / f"{TOKEN.partition(':')[0]}.sqlite3"
    Database(file).close()
    file.write_bytes(file.read_bytes()[:cut] or b"garbage" * 1000)
    bot = stack.bot(EASEL_DATA_DIR=str(tmp_path))
    bot.start()
    until(bot.has_ended, "the bot ends")
    assert "is damaged" in bot.log()
    assert "Traceback" not in bot.log()
    assert bot.stop() == 2


def test_a_file_of_before_versions_is_taken_over_and_one_of_a_newer_release_refused(
    tmp_path: Path,
) -> None:
    file = tmp_path / "bot.sqlite3"
    database = Database(file)
    database.set_note("kept", "text")
    database.run("PRAGMA user_version = 0")
    database.close()
    database = Database(file)
    assert database.note("kept") == "text"
    database.close()
    with sqlite3.connect(file) as raw:
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(FileRefused, match="newer Easel"):
        Database(file)
