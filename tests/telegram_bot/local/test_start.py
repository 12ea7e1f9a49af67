"""The real process, `python -m telegram_bot.local`."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

HOOKS = '{"Say hello": "echo hello from the hook", "Break": "no-such-command"}'


def _run(**variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "telegram_bot.local"],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def started(**variables: str) -> Iterator[str]:
    """Run the local Telegram; yield its address."""
    process = _run(LOCAL_TELEGRAM_PORT="0", **variables)
    try:
        assert process.stdout
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line
        yield address.group()
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert process.returncode in (0, -signal.SIGTERM)
    assert errors == ""


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("LOCAL_TELEGRAM_HOST", "0.0.0.0", "LOCAL_TELEGRAM_HOST: Input should be '127.0.0.1'"),
        ("LOCAL_TELEGRAM_HOST", "example.org", "LOCAL_TELEGRAM_HOST: Input should be '127.0.0.1'"),
        ("LOCAL_TELEGRAM_PORT", "99999", "LOCAL_TELEGRAM_PORT: Input should be less than"),
        ("LOCAL_TELEGRAM_HOOKS", "[1", "LOCAL_TELEGRAM_HOOKS: Invalid JSON"),
        ("LOCAL_TELEGRAM_PROT", "1", "LOCAL_TELEGRAM_PROT is not a setting"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(
    variable: str, value: str, sentence: str
) -> None:
    process = _run(**{variable: value})
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert sentence in errors
    assert errors.count("\n") == 1


def test_hooks_are_listed_run_and_reported() -> None:
    with started(LOCAL_TELEGRAM_HOOKS=HOOKS) as url, httpx.Client(base_url=url) as http:
        assert http.get("/chat/state?user_id=1001").json()["hooks"] == ["Say hello", "Break"]
        ran = http.post("/chat/hook", json={"name": "Say hello"}).json()
        assert ran == {"exit": 0, "output": "hello from the hook\n"}
        broken = http.post("/chat/hook", json={"name": "Break"})
        assert "no-such-command could not be started" in broken.json()["detail"]
        assert http.post("/chat/hook", json={"name": "rm"}).status_code == 404


def test_it_stops_at_once_with_an_open_event_stream() -> None:
    with (
        httpx.Client() as http,
        started() as url,
        http.stream("GET", f"{url}/chat/events") as events,
    ):
        lines = events.iter_lines()
        assert next(lines)


def test_message_ids_rise_across_a_restart() -> None:
    ids = []
    for _ in range(2):
        with started() as url, httpx.Client(base_url=url) as http:
            sent = http.post("/chat/send", json={"user_id": 1001, "text": "x"})
            ids.append(sent.json()["message_id"])
    assert ids[1] > ids[0]
