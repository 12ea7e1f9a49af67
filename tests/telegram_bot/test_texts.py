"""The bot's texts: both languages have all of them, and no handler has one of its own."""

import ast
import re
import string
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from telegram_bot.texts import FORMS, Languages

ROOT = Path(__file__).parents[2] / "telegram_bot"
FLOWS = [*sorted((ROOT / "flows").glob("*.py")), ROOT / "messages/presenter.py", ROOT / "access.py"]
RAW = {code: tomllib.loads((ROOT / f"texts/{code}.toml").read_text("utf-8")) for code in FORMS}
KEY = re.compile(r"[a-z]+\.[a-z_]+")


def texts_of(code: str) -> dict[str, str | dict[str, str]]:
    return {f"{s}.{k}": text for s, entries in RAW[code].items() for k, text in entries.items()}


def forms_of(text: str | dict[str, str]) -> list[str]:
    return list(text.values()) if isinstance(text, dict) else [text]


def fields_of(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_have_the_same_texts() -> None:
    assert set(texts_of("en")) == set(texts_of("ru"))


@pytest.mark.parametrize("code", FORMS)
def test_every_plural_has_exactly_the_forms_of_its_language(code: str) -> None:
    _, wanted = FORMS[code]
    for key, text in texts_of(code).items():
        if isinstance(text, dict):
            assert set(text) == wanted, key


def test_a_text_takes_the_same_values_in_both_languages() -> None:
    russian = texts_of("ru")
    for key, text in texts_of("en").items():
        names = set().union(*(fields_of(form) for form in forms_of(text)))
        theirs = set().union(*(fields_of(form) for form in forms_of(russian[key])))
        assert names == theirs, key
        assert isinstance(text, dict) == isinstance(russian[key], dict), key


def test_russian_counts_as_russians_do() -> None:
    texts = Languages().of("ru-RU")
    counted = {n: texts.plain("privacy.done", n=n) for n in (1, 2, 5, 11, 12, 21, 22, 25, 111, 101)}
    assert {n: text.split()[2] for n, text in counted.items()} == {
        1: "картинка", 2: "картинки", 5: "картинок", 11: "картинок", 12: "картинок",
        21: "картинка", 22: "картинки", 25: "картинок", 111: "картинок", 101: "картинка",
    }  # fmt: skip


def test_what_people_write_is_never_markup() -> None:
    texts = Languages().of("en")
    assert "&lt;b&gt;" in texts.html("job.quote", prompt="<b>")


def _strings(tree: ast.AST) -> Iterator[str]:
    """Yield the string literals of a module except its docstrings."""
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


@pytest.mark.parametrize("path", FLOWS, ids=lambda path: path.stem)
def test_no_handler_has_a_text_of_its_own(path: Path) -> None:
    """A handler has no literal with a sentence in it, and none in another alphabet."""
    allowed = {"%d.%m.%Y", "not modified"}
    for text in _strings(ast.parse(path.read_text("utf-8"))):
        if text in allowed:
            continue
        assert not re.search(r"[A-Za-z]{2,} [A-Za-z]{2,} ", text), text
        assert not re.search(r"[А-Яа-я]", text), text


def test_every_text_that_the_code_names_is_there_and_none_is_left_over() -> None:
    known, named = set(texts_of("en")), set()
    for path in ROOT.rglob("*.py"):
        if "local" not in path.parts:
            named |= set(KEY.findall(path.read_text("utf-8")))
    built = ("button.", "error.", "category.", "field.", "command.", "settings.")
    assert {key for key in known - named if not key.startswith(built)} == set()


def test_what_the_backend_says_in_english_is_never_passed_on() -> None:
    for key, text in texts_of("ru").items():
        assert all("detail" not in fields_of(form) for form in forms_of(text)), key
