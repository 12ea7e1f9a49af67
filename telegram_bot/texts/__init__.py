"""All texts of the bot, one TOML file per language, with plural forms.

Texts are Telegram's HTML, except for those of buttons and toasts. `{name}` is filled in; of a table
of plural forms, the one for the value `n` is taken.
"""

import tomllib
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any

DEFAULT = "en"


def _english(n: int) -> str:
    return "one" if n == 1 else "other"


def _russian(n: int) -> str:
    if n % 10 == 1 and n % 100 != 11:
        return "one"
    return "few" if n % 10 in (2, 3, 4) and n % 100 not in (12, 13, 14) else "many"


FORMS: Mapping[str, tuple[Callable[[int], str], frozenset[str]]] = {
    "en": (_english, frozenset({"one", "other"})),
    "ru": (_russian, frozenset({"one", "few", "many"})),
}


def utf16_length(text: str) -> int:
    """Return the length as Telegram counts it: an emoji counts as two."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, length: int) -> str:
    """Cut a text to `length` UTF-16 units, with an ellipsis if anything is missing."""
    if utf16_length(text) <= length:
        return text
    units = text.encode("utf-16-le", "surrogatepass")[: 2 * (length - 1)]
    return units.decode("utf-16-le", "ignore").rstrip() + "…"


class Markup(str):
    """HTML, which is filled in without escaping."""

    __slots__ = ()


class Texts:
    """The texts in one language, by `section.name`."""

    def __init__(self, code: str, texts: Mapping[str, str | Mapping[str, str]]) -> None:
        self.code = code
        self._texts = texts
        self._form, _ = FORMS[code]

    def html(self, key: str, **values: Any) -> Markup:
        """Return a text with its values escaped; raises KeyError for an unknown key or value."""
        shown = {name: v if isinstance(v, Markup) else escape(str(v)) for name, v in values.items()}
        return Markup(self._template(key, values).format(**shown))

    def plain(self, key: str, **values: Any) -> str:
        """Return a text without markup: for a button, a toast, a command's description."""
        return self._template(key, values).format(**values)

    def of(self, texts: Mapping[str, str]) -> str:
        """Choose from the backend's texts the one in this language, or else in English."""
        return texts.get(self.code) or texts.get(DEFAULT) or next(iter(texts.values()), "")

    def has(self, key: str) -> bool:
        return key in self._texts

    def _template(self, key: str, values: Mapping[str, Any]) -> str:
        text = self._texts[key]
        return text if isinstance(text, str) else text[self._form(int(values["n"]))]


class Languages:
    """The texts in every language that has a file."""

    def __init__(self) -> None:
        folder = Path(__file__).parent
        self.by_code = {code: Texts(code, _read(folder / f"{code}.toml")) for code in FORMS}

    def of(self, code: str | None) -> Texts:
        """Return the texts for a `language_code` such as `ru-RU`; English for unknown ones."""
        short = (code or DEFAULT).split("-")[0].lower()
        return self.by_code.get(short, self.by_code[DEFAULT])


def _read(path: Path) -> dict[str, str | Mapping[str, str]]:
    sections = tomllib.loads(path.read_text("utf-8")).items()
    return {f"{section}.{name}": text for section, own in sections for name, text in own.items()}
