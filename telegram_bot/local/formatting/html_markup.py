"""Telegram's HTML style: a small set of tags, and its own words for what is wrong."""

import re
from dataclasses import dataclass

from telegram_bot.local.errors import BadRequestError
from telegram_bot.local.formatting.entities import Formatted, Json, utf16_length

_TAGS = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "tg-emoji": "custom_emoji",
}
_CHARACTERS = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_REFERENCE = re.compile(r"&(?:#(\d{1,7})|#[xX]([0-9a-fA-F]{1,6})|(\w+));")
_END_TAG = re.compile(r"</([^\s>]*)\s*>")
_START_TAG = re.compile(
    r"<([^\s>]*)((?:\s+[^\s=>]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s>\"']+))?)*)\s*>"
)
_ATTRIBUTE = re.compile(r"([^\s=>]+)(?:\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+)))?")
_USER_LINK = re.compile(r"tg://user\?id=(\d+)")


@dataclass(frozen=True)
class _Open:
    tag: str
    attributes: dict[str, str]
    offset: int


def parse_html(source: str) -> Formatted:
    """The text without its tags; raises `BadRequestError` ("can't parse entities: …")."""
    out: list[str] = []
    length = 0
    stack: list[_Open] = []
    entities: list[Json] = []
    position = 0
    while position < len(source):
        piece = source[position]
        advance = 1
        if piece == "&" and (reference := _REFERENCE.match(source, position)):
            piece = _decoded(reference)
            advance = reference.end() - position
        elif piece == "<":
            if source.startswith("</", position):
                position = _close(source, position, stack, entities, length)
            else:
                opened, position = _opened(source, position, length)
                stack.append(opened)
            continue
        out.append(piece)
        length += utf16_length(piece)
        position += advance
    if stack:
        raise _refusal(f'Can\'t find end tag corresponding to start tag "{stack[-1].tag}"')
    return Formatted("".join(out), _merged(entities))


def _refusal(reason: str, source: str = "", position: int | None = None) -> BadRequestError:
    where = "" if position is None else f" at byte offset {len(source[:position].encode())}"
    return BadRequestError(f"can't parse entities: {reason}{where}")


def _decoded(reference: re.Match[str]) -> str:
    decimal, hexadecimal, name = reference.groups()
    if name:
        return _CHARACTERS.get(name, reference.group())
    code = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else reference.group()


def _opened(source: str, position: int, offset: int) -> tuple[_Open, int]:
    name = re.compile(r"<([^\s>]*)").match(source, position)
    tag = name.group(1).lower() if name else ""
    if tag not in _TAGS:
        raise _refusal(f'Unsupported start tag "{tag}"', source, position)
    match = _START_TAG.match(source, position)
    if match is None:
        raise _refusal("Unclosed start tag", source, position)
    attributes = {
        key.lower(): next((v for v in values if v), "")
        for key, *values in _ATTRIBUTE.findall(match.group(2))
    }
    attributes = {k: _REFERENCE.sub(_decoded, v) for k, v in attributes.items()}
    if tag == "span" and attributes.get("class") != "tg-spoiler":
        raise _refusal('Tag "span" must have class "tg-spoiler"', source, position)
    return _Open(tag, attributes, offset), match.end()


def _close(
    source: str, position: int, stack: list[_Open], entities: list[Json], length: int
) -> int:
    if not stack:
        raise _refusal("Unexpected end tag", source, position)
    match = _END_TAG.match(source, position)
    if match is None:
        raise _refusal("Unclosed end tag", source, position)
    opened = stack.pop()
    found = match.group(1).lower()
    if found and found != opened.tag:
        where = len(source[:position].encode())
        raise _refusal(
            f'Unmatched end tag at byte offset {where}, expected "</{opened.tag}>", '
            f'found "</{found}>"'
        )
    if length > opened.offset:
        entities += _entity(opened, length - opened.offset)
    return match.end()


def _entity(opened: _Open, length: int) -> list[Json]:
    entity: Json = {"type": _TAGS[opened.tag], "offset": opened.offset, "length": length}
    match opened.tag:
        case "a":
            return link(entity, opened.attributes.get("href", ""))
        case "code" if (name := opened.attributes.get("class", "")).startswith("language-"):
            entity["language"] = name.removeprefix("language-")
        case "blockquote" if "expandable" in opened.attributes:
            entity["type"] = "expandable_blockquote"
        case "tg-emoji":
            entity["custom_emoji_id"] = opened.attributes.get("emoji-id", "")
    return [entity]


def link(entity: Json, url: str) -> list[Json]:
    """The entity as a link to `url`: none when Telegram would drop it."""
    if user := _USER_LINK.fullmatch(url):
        person = {"id": int(user.group(1)), "is_bot": False, "first_name": "User"}
        return [{**entity, "type": "text_mention", "user": person}]
    if re.match(r"(?i)(https?|tg|ton)://\S", url):
        return [{**entity, "type": "text_link", "url": url}]
    if re.fullmatch(r"(?i)[\w-]+(\.[\w-]+)+(/\S*)?", url):
        return [{**entity, "type": "text_link", "url": f"http://{url}/" if "/" not in url else url}]
    return []


def _merged(entities: list[Json]) -> list[Json]:
    """`<pre><code class="language-x">` is one entity: a `pre` with a language."""
    languages = {(e["offset"], e["length"]): e["language"] for e in entities if e.get("language")}
    blocks = {(e["offset"], e["length"]) for e in entities if e["type"] == "pre"}
    merged: list[Json] = []
    for entity in entities:
        span = (entity["offset"], entity["length"])
        if entity["type"] == "code" and span in blocks:
            continue
        plain = {k: v for k, v in entity.items() if k != "language"}
        if entity["type"] == "pre" and span in languages:
            plain["language"] = languages[span]
        merged.append(plain)
    return merged
