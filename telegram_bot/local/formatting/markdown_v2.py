"""Telegram's MarkdownV2 style, with its own words for what is wrong."""

from dataclasses import dataclass

from telegram_bot.local.errors import BadRequestError
from telegram_bot.local.formatting.entities import Formatted, Json, utf16_length
from telegram_bot.local.formatting.html_markup import link

_RESERVED = "_*[]()~`>#+-=|{}.!"
_MARKS = {
    "__": ("underline", "Underline"),
    "||": ("spoiler", "Spoiler"),
    "_": ("italic", "Italic"),
    "*": ("bold", "Bold"),
    "~": ("strikethrough", "Strikethrough"),
}
_TITLES = dict(_MARKS.values()) | {
    "code": "Code",
    "pre": "Pre",
    "text_link": "TextUrl",
    "blockquote": "BlockQuote",
}


@dataclass(frozen=True)
class _Open:
    kind: str
    mark: str
    offset: int
    position: int
    start: int
    language: str = ""


def parse_markdown_v2(source: str) -> Formatted:
    """The text without its marks; raises `BadRequestError` ("can't parse entities: …")."""
    parser = _Parser(source)
    parser.run()
    return Formatted("".join(parser.out), parser.entities)


class _Parser:
    def __init__(self, source: str) -> None:
        self.source = source
        self.position = 0
        self.out: list[str] = []
        self.length = 0
        self.stack: list[_Open] = []
        self.entities: list[Json] = []

    def run(self) -> None:
        while self.position < len(self.source):
            self._step()
        if self.stack and self.stack[-1].kind == "blockquote":
            self._close()
        if self.stack:
            raise self._unclosed(self.stack[-1])

    def _step(self) -> None:
        character = self.source[self.position]
        following = self.source[self.position + 1 : self.position + 2]
        inside = self.stack[-1] if self.stack else None
        if character == "\\" and following and ord(following) <= 126:
            self.position += 1
            self._emit(following)
        elif inside and inside.kind in ("code", "pre"):
            self._verbatim(inside, character)
        elif character == "\n":
            self._newline()
        elif character == ">" and self._at_line_start():
            self._quote()
        elif character == "`":
            self._open_code()
        elif inside and inside.kind == "text_link" and character == "]":
            self._close_link()
        elif mark := self._mark():
            self._toggle(mark)
        elif character == "[":
            self._open("text_link", "[")
        elif character in _RESERVED:
            raise self._refusal(
                f"Character '{character}' is reserved and must be escaped with the preceding '\\'"
            )
        else:
            self._emit(character)

    def _mark(self) -> str | None:
        return next((m for m in _MARKS if self.source.startswith(m, self.position)), None)

    def _emit(self, text: str) -> None:
        self.out.append(text)
        self.length += utf16_length(text)
        self.position += 1

    def _at_line_start(self) -> bool:
        return self.position == 0 or self.source[self.position - 1] == "\n"

    def _open(self, kind: str, mark: str, language: str = "") -> None:
        self.stack.append(_Open(kind, mark, self.length, self.position, len(self.out), language))
        self.position += len(mark)

    def _toggle(self, mark: str) -> None:
        if self.stack and self.stack[-1].mark == mark:
            self.position += len(mark)
            self._close()
        else:
            self._open(_MARKS[mark][0], mark)

    def _open_code(self) -> None:
        if not self.source.startswith("```", self.position):
            self._open("code", "`")
            return
        self._open("pre", "```")
        rest = self.source[self.position :]
        word = rest.split("`", 1)[0].split(maxsplit=1)[0] if rest[:1].strip() else ""
        if word and not rest.startswith("`") and rest[len(word) : len(word) + 1] not in ("", "`"):
            opened = self.stack.pop()
            self.stack.append(
                _Open("pre", "```", opened.offset, opened.position, opened.start, word)
            )
            self.position += len(word)
        if self.source.startswith("\n", self.position):
            self.position += 1

    def _verbatim(self, inside: _Open, character: str) -> None:
        if self.source.startswith(inside.mark, self.position):
            self.position += len(inside.mark)
            self._close()
        elif character == "`":
            raise self._refusal(
                "Character '`' is reserved and must be escaped with the preceding '\\'"
            )
        else:
            self._emit(character)

    def _quote(self) -> None:
        if any(o.kind == "blockquote" for o in self.stack):
            self.position += 1
        else:
            self._open("blockquote", ">")

    def _newline(self) -> None:
        if any(o.kind == "blockquote" for o in self.stack) and (
            self.source[self.position + 1 : self.position + 2] != ">"
        ):
            if self.stack[-1].kind != "blockquote":
                raise self._unclosed(self.stack[-1])
            self._close()
        self._emit("\n")

    def _close(self) -> None:
        opened = self.stack.pop()
        if self.length > opened.offset:
            entity: Json = {
                "type": opened.kind,
                "offset": opened.offset,
                "length": self.length - opened.offset,
            }
            if opened.language:
                entity["language"] = opened.language
            self.entities.append(entity)

    def _close_link(self) -> None:
        opened = self.stack.pop()
        self.position += 1
        url = "".join(self.out[opened.start :])
        if self.source.startswith("(", self.position):
            url = self._url()
        if self.length > opened.offset:
            entity = {"offset": opened.offset, "length": self.length - opened.offset}
            self.entities += link(entity, url)

    def _url(self) -> str:
        begin = self.position + 1
        url: list[str] = []
        self.position = begin
        while self.position < len(self.source):
            character = self.source[self.position]
            if character == ")":
                self.position += 1
                return "".join(url)
            if character == "\\":
                self.position += 1
                character = self.source[self.position : self.position + 1]
            url.append(character)
            self.position += 1
        raise self._refusal(f"Can't find end of a URL at byte offset {self._byte(begin)}")

    def _byte(self, position: int) -> int:
        return len(self.source[:position].encode())

    def _unclosed(self, opened: _Open) -> BadRequestError:
        title = _TITLES[opened.kind]
        where = self._byte(opened.position)
        return self._refusal(f"Can't find end of {title} entity at byte offset {where}")

    def _refusal(self, reason: str) -> BadRequestError:
        return BadRequestError(f"can't parse entities: {reason}")
