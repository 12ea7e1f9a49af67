"""Log lines: JSON with known fields, and never a secret in them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.services import clean_environment
from web.logs import redact

BOT = "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw_"
HUB = "hf_abcdefghijklmnopqrstuv"
POD = "rpa_ABCDEFGHIJKLMNOP0123456789"
KEY = "0123456789abcdef-api-key"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://api.telegram.org/bot{BOT}/getMe", "https://api.telegram.org/bot***/getMe"),
        (f"token {BOT}.", "token ***."),
        (f"a\n{BOT}\nb", "a\n***\nb"),
        (f"Authorization: Bearer {KEY}", "Authorization: Bearer ***"),
        (f'{{"authorization": "bearer {KEY}"}}', '{"authorization": "bearer ***"}'),
        (f"?token={HUB}&x=1", "?token=***&x=1"),
        (f"key={POD}", "key=***"),
        ("risk_management, task_abcdefghijkl", "risk_management, task_abcdefghijkl"),
        ("12:30:45 and 1234567:short", "12:30:45 and 1234567:short"),
    ],
)
def test_tokens_are_starred_out_and_nothing_else(text: str, shown: str) -> None:
    assert redact(text) == shown


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_token_is_starred_out_whatever_stands_around_it(before: str, after: str) -> None:
    for secret in (HUB, POD):
        assert secret not in redact(f"{before} {secret} {after}")
    assert BOT not in redact(f"{before}/bot{BOT}/{after}")


PROGRAM = f"""
import logging, warnings
import structlog
from web import logs
logs.configure("shop", "INFO")
structlog.contextvars.bind_contextvars(request_id="r-1", generation_id="g-1")
log = structlog.get_logger()
log.info("opened", url="https://x/bot{BOT}/y", nested={{"headers": ["Bearer {KEY}"]}}, n=3)
log.debug("not shown")
logging.getLogger("library").warning("sent %s", "{HUB}")
logging.getLogger("httpx").info("GET https://x/bot{BOT}/getMe")
warnings.warn("careful with {POD}")
class Thing:
    def __repr__(self): return "<Thing Bearer {KEY}>"
log.info("thing", thing=Thing())
try:
    try:
        int("a fox in a boat")
    except ValueError as error:
        raise ExceptionGroup("two foxes", [KeyError("one fox")]) from error
except ExceptionGroup as group:
    log.exception("broke")
    logging.getLogger("library").exception("broke too")
    log.critical("part broke", exc_info=group)
log.info("многострочно\\nдва", text="\\u2028")
"""


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what a real program logs."""
    path: Path = tmp_path_factory.mktemp("logs") / "program.py"
    path.write_text(PROGRAM, "utf-8")
    ran = subprocess.run(
        [sys.executable, str(path)], env=clean_environment(), capture_output=True, check=True
    )
    assert ran.stderr == b""
    text = ran.stdout.decode()
    for secret in (BOT, HUB, POD, KEY):
        assert secret not in text
    return [json.loads(line) for line in text.split("\n") if line]


def test_every_line_is_json_with_the_known_fields(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        assert {"ts", "level", "service", "event"} <= line.keys()
        assert line["service"] == "shop"
        assert line["ts"].endswith("Z")
        assert (line["request_id"], line["generation_id"]) == ("r-1", "g-1")


def test_events_of_ours_of_libraries_and_warnings_look_the_same(
    lines: list[dict[str, Any]],
) -> None:
    by_event = {line["event"]: line for line in lines}
    opened = by_event["opened"]
    assert (opened["level"], opened["n"]) == ("info", 3)
    assert opened["url"] == "https://x/bot***/y"
    assert opened["nested"] == {"headers": ["Bearer ***"]}
    assert by_event["sent ***"]["level"] == "warning"
    assert "not shown" not in by_event
    assert not any("getMe" in line["event"] for line in lines)
    assert any("careful with ***" in line["event"] for line in lines)
    assert "многострочно\nдва" in by_event


@pytest.mark.parametrize("event", ["broke", "broke too", "part broke"])
def test_an_exception_is_logged_with_types_and_places_and_without_what_it_quotes(
    lines: list[dict[str, Any]], event: str
) -> None:
    [logged] = [line["exception"] for line in lines if line["event"] == event]
    said = [line for line in logged.splitlines() if not line.startswith(" ")]
    assert said == ["ValueError", "ExceptionGroup", "KeyError"]
    assert 'program.py", line' in logged
