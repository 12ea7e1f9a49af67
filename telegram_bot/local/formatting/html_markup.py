"""Parse Telegram's HTML style.

The standard library's parser accepts almost anything; Telegram refuses unknown and unclosed tags,
and says at which byte. A bot has to meet those refusals here.
"""

import re
from dataclasses import dataclass

from telegram_bot.local.errors import BadRequest
from telegram_bot.local.formatting.entities import Formatted, Json, utf16_length

_TAGS = {
    **dict.fromkeys(("b", "strong"), "bold"),
    **dict.fromkeys(("i", "em"), "italic"),
    **dict.fromkeys(("u", "ins"), "underline"),
    **dict.fromkeys(("s", "strike", "del"), "strikethrough"),
    **dict.fromkeys(("tg-spoiler", "span"), "spoiler"),
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
}
_CHARACTERS = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_REFERENCE = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w+));")
_END_TAG = re.compile(r"</([^\s>]*)\s*>")
_TAG_NAME = re.compile(r"<([^\s>]*)")
_START_TAG = re.compile(
    r"<([^\s>]*)((?:\s+[^\s=>]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s>\"']+))?)*)\s*>"
)
_ATTRIBUTE = re.compile(r"([^\s=>]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+)))?")


def parse_html(source: str) -> Formatted:
    """Separate the text from its tags. Raises BadRequest ("can't parse entities: …")."""
    return _Parser(source).run()


def link(url: str) -> str | None:
    """Return the address as Telegram stores it; None when it would drop the link."""
    if re.match(r"(?i)(https?|tg|ton)://\S", url):
        return url
    if re.fullmatch(r"(?i)[\w-]+(\.[\w-]+)+(/\S*)?", url):
        return f"http://{url}" if "/" in url else f"http://{url}/"
    return None


@dataclass(frozen=True)
class _OpenTag:
    name: str
    attributes: dict[str, str]
    offset: int


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.position = 0
        self.text = ""
        self.open_tags: list[_OpenTag] = []
        self.entities: list[Json] = []
        self.language = ""
        """The programming language that the last `<code>` named."""

    def run(self) -> Formatted:
        while self.position < len(self.source):
            if self.source.startswith("</", self.position):
                self._end_tag()
            elif self.source.startswith("<", self.position):
                self._start_tag()
            else:
                self._characters()
        if self.open_tags:
            name = self.open_tags[-1].name
            raise _unparsable(f'Can\'t find end tag corresponding to start tag "{name}"')
        return Formatted(self.text, self.entities)

    def _characters(self) -> None:
        end = self.source.find("<", self.position)
        end = len(self.source) if end < 0 else end
        self.text += _REFERENCE.sub(_decode, self.source[self.position : end])
        self.position = end

    def _start_tag(self) -> None:
        match = _TAG_NAME.match(self.source, self.position)
        name = match.group(1).lower() if match else ""
        if name not in _TAGS:
            raise self._wrong_here(f'Unsupported start tag "{name}"')
        match = _START_TAG.match(self.source, self.position)
        if match is None:
            raise self._wrong_here("Unclosed start tag")
        attributes = {
            key.lower(): _REFERENCE.sub(_decode, next((v for v in values if v), ""))
            for key, *values in _ATTRIBUTE.findall(match.group(2))
        }
        if name == "span" and attributes.get("class") != "tg-spoiler":
            raise self._wrong_here('Tag "span" must have class "tg-spoiler"')
        self.open_tags.append(_OpenTag(name, attributes, utf16_length(self.text)))
        self.position = match.end()

    def _end_tag(self) -> None:
        if not self.open_tags:
            raise self._wrong_here("Unexpected end tag")
        match = _END_TAG.match(self.source, self.position)
        if match is None:
            raise self._wrong_here("Unclosed end tag")
        tag, name = self.open_tags.pop(), match.group(1).lower()
        if name not in ("", tag.name):
            reason = self._at("Unmatched end tag")
            raise _unparsable(f'{reason}, expected "</{tag.name}>", found "</{name}>"')
        length = utf16_length(self.text) - tag.offset
        if length > 0:
            self._add_entity(tag, length)
        self.position = match.end()

    def _add_entity(self, tag: _OpenTag, length: int) -> None:
        entity: Json = {"type": _TAGS[tag.name], "offset": tag.offset, "length": length}
        match tag.name:
            case "a":
                url = link(tag.attributes.get("href", ""))
                if url is None:
                    return
                entity["url"] = url
            case "blockquote" if "expandable" in tag.attributes:
                entity["type"] = "expandable_blockquote"
            case "code":
                self.language = tag.attributes.get("class", "").partition("language-")[2]
            case "pre" if self.entities[-1:] == [{**entity, "type": "code"}]:
                self.entities.pop()
                if self.language:
                    entity["language"] = self.language
        self.entities.append(entity)

    def _at(self, reason: str) -> str:
        return f"{reason} at byte offset {len(self.source[: self.position].encode())}"

    def _wrong_here(self, reason: str) -> BadRequest:
        return _unparsable(self._at(reason))


def _unparsable(reason: str) -> BadRequest:
    return BadRequest(f"can't parse entities: {reason}")


def _decode(reference: re.Match[str]) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        return _CHARACTERS.get(name, reference.group())
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else reference.group()
