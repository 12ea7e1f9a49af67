"""Fold the disguises of a word into one spelling: Unicode forms, lookalikes, invisible marks."""

import re
import unicodedata
from collections.abc import Mapping
from string import ascii_letters

from confusable_homoglyphs import utils as confusables

_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
# Letters drawn alike, after case folding (so that В stands for B and Н for H).
_TWINS = dict(zip("abcehkmoptxy", "авсенкмортху", strict=True))
# Lookalikes missing from Unicode's table, which requires near-identity.
_MORE_LOOKALIKES = dict(zip("εητκωßΛΣ", "entkwbAE", strict=True))
_DIGITS = {
    "0": "oо",
    "1": "ilи",
    "2": "z",
    "3": "eзе",
    "4": "aча",
    "5": "s",
    "6": "bgб",
    "7": "t",
    "8": "bв",
    "9": "g",
}
SYMBOLS = {"@": "aа", "$": "s", "!": "i", "|": "li", "+": "t", "€": "e", "£": "l", "¢": "c"}
# These look blank, but Unicode calls them letters or symbols.
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"
_LETTER_NAME = re.compile(
    r"(?:LATIN (?:CAPITAL|SMALL) LETTER|LATIN LETTER SMALL CAPITAL|REGIONAL INDICATOR SYMBOL LETTER"
    r"|NEGATIVE (?:CIRCLED|SQUARED) LATIN CAPITAL LETTER) ([A-Z])(?: WITH .*)?"
)
# All of Unicode except ASCII, ideographs (planes 2 and 3), empty planes and private ones.
# Looking at every code point would take a fifth of a second at each start.
_CODES = (*range(0x80, 0x20000), *range(0xE0000, 0xE1000))
_LONG_RUN = re.compile(r"([^\W\d_])\1{3,}")


def letter_readings() -> dict[str, str]:
    """Return, for each character of folded text, every letter it may stand for."""
    readings = {letter: letter for letter in ascii_letters[:26] + _CYRILLIC}
    for latin, cyrillic in _TWINS.items():
        readings[latin] += cyrillic
        readings[cyrillic] += latin
    readings["n"] += "п"
    readings["u"] += "и"
    readings["r"] += "г"
    readings["b"] += "ь"
    readings["i"] += "и"
    return readings | {digit: digit + letters for digit, letters in _DIGITS.items()}


def folding_table(emoji: Mapping[str, str]) -> dict[int, str]:
    """Build the table for `fold`: lookalikes become Latin, marks and invisibles nothing.

    Lookalikes are Unicode's confusables (UTS #39) and letters named after a Latin one (ø, ᴇ, 🅽).
    """
    table: dict[int, str] = {}
    for code in _CODES:
        category = unicodedata.category(chr(code))
        if category in {"Mn", "Me", "Cf"}:
            table[code] = ""
        elif category == "Lo" or category[0] not in "LS":  # Lo: letters without case, never Latin
            continue
        elif named := _LETTER_NAME.fullmatch(unicodedata.name(chr(code), "")):
            table[code] = named[1].lower()
    # The package's own API would keep all 7 MB of the table in memory.
    lookalikes = confusables.load("confusables.json")
    for letter in ascii_letters:
        for lookalike in lookalikes.get(letter, ()):
            character = lookalike["c"]
            if len(character) == 1 and not character.isascii():
                table.setdefault(ord(character), letter)
    table |= {ord(character): letter for character, letter in _MORE_LOOKALIKES.items()}
    for letter in _CYRILLIC + _CYRILLIC.upper():
        table.pop(ord(letter), None)
    table |= {ord(character): "" for character in _BLANKS}
    table |= {code: "" for code in range(0x20) if not chr(code).isspace()}
    return table | {ord(sign): f" {word} " for sign, word in emoji.items()}


def fold(text: str, table: Mapping[int, str]) -> str:
    """Return `text` in lower case without marks, invisibles, lookalikes and runs over three."""
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFKD", text).translate(table)
    return _LONG_RUN.sub(r"\1\1\1", text.casefold())
