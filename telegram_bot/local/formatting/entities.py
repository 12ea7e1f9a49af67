"""Text with entities, measured in UTF-16 code units as Telegram measures it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
MAX_TEXT = 4096
MAX_CAPTION = 1024

_DETECTED = (
    ("url", re.compile(r"(?i)(?<![\w@])(?:https?://[^\s<>\"]+|(?:www\.|t\.me/)[^\s<>\"]+)")),
    ("email", re.compile(r"(?<![\w.])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    (
        "bot_command",
        re.compile(r"(?<![\w/@<>])/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?(?![\w/])"),
    ),
    ("mention", re.compile(r"(?<![\w@/])@[A-Za-z][A-Za-z0-9_]{2,31}(?!\w)")),
    ("hashtag", re.compile(r"(?<![\w#])#\w*[^\W\d_]\w*")),
)
_STYLES = frozenset(
    (
        *("bold", "italic", "underline", "strikethrough", "spoiler"),
        *("blockquote", "expandable_blockquote"),
    )
)


@dataclass(frozen=True)
class Formatted:
    """A text and its entities; offsets and lengths in UTF-16 code units."""

    text: str
    entities: list[Json] = field(default_factory=list)

    def content(self, name: str = "text") -> Json:
        """Return the message fields of a text or a caption; empty without text."""
        prefix = "" if name == "text" else f"{name}_"
        fields = {name: self.text, f"{prefix}entities": self.entities}
        return {k: v for k, v in fields.items() if v}


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def utf16_slice(text: str, offset: int, length: int) -> str:
    units = text.encode("utf-16-le", "surrogatepass")
    return units[2 * offset : 2 * (offset + length)].decode("utf-16-le", "replace")


def normalise(formatted: Formatted) -> Formatted:
    """Trim the text, detect commands, mentions and links, and sort the entities.

    The result is what Telegram stores.
    """
    trimmed = _trim(formatted)
    opaque = [e for e in trimmed.entities if e["type"] not in _STYLES]
    entities = [*trimmed.entities, *_detect(trimmed.text, opaque)]
    return Formatted(trimmed.text, sorted(entities, key=lambda e: (e["offset"], -e["length"])))


def _trim(formatted: Formatted) -> Formatted:
    text = formatted.text.replace("\r", "") if not formatted.entities else formatted.text
    lead = utf16_length(text) - utf16_length(text.lstrip())
    text = text.strip()
    end = utf16_length(text)
    entities = []
    for entity in formatted.entities:
        start = max(0, entity["offset"] - lead)
        stop = min(end, entity["offset"] + entity["length"] - lead)
        if stop > start:
            entities.append({**entity, "offset": start, "length": stop - start})
    return Formatted(text, entities)


def _detect(text: str, opaque: list[Json]) -> Iterator[Json]:
    """Yield the entities Telegram finds by itself, outside the `opaque` ones."""
    spans = [(e["offset"], e["offset"] + e["length"]) for e in opaque]
    for name, pattern in _DETECTED:
        for match in pattern.finditer(text):
            word = match.group().rstrip(".,;:!?)'") if name == "url" else match.group()
            start = utf16_length(text[: match.start()])
            stop = start + utf16_length(word)
            if all(stop <= a or start >= b for a, b in spans):
                spans.append((start, stop))
                yield {"type": name, "offset": start, "length": stop - start}
