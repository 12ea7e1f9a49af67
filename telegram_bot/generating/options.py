"""Parse options in a text: `red fox --seed 42 --size 3:2 --no snow, trees`."""

import difflib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.schemas import ModeInfo
from telegram_bot.catalogue import schema_of, style_of

# Phones turn two hyphens into a dash, which is also punctuation: then the name has to be known.
_OPTION = re.compile(
    r"(?:(?<=\s)|^)(?P<dash>--|—|–)(?P<name>[a-zA-Z][\w-]*)(?:=|[^\S\r\n]*)", re.MULTILINE
)
_NEARLY = 0.8
_ALIASES = {
    "no": "negative_prompt",
    "n": "count",
    "ar": "size",
    "negative": "negative_prompt",
    "negative-prompt": "negative_prompt",
}
_SHORT = {"negative_prompt": "no", "width": "size", "height": "size"}


@dataclass(frozen=True)
class Fault:
    """An error in an option: the key of the text that explains it, and its values."""

    key: str
    values: Mapping[str, str]


@dataclass
class Options:
    """The text without its options, their values, and every fault."""

    prompt: str
    values: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def parse(text: str, mode: ModeInfo, style: str | None) -> Options:
    """Check the values against the mode's JSON Schema; `style` applies if the text has none."""
    names = {*_ALIASES, *_offered(mode), *mode.parameters.get("properties", {}), "strength"}
    matches = [match for match in _OPTION.finditer(text) if _begins_option(match, names)]
    if not matches:
        return Options(text.strip())
    options = Options("")
    rest = [text[: matches[0].start()]]
    raw: dict[str, str] = {}
    for match, following in zip(matches, [*matches[1:], None], strict=True):
        body = text[match.end() : following.start() if following else len(text)]
        name = match["name"].lower()
        name = _ALIASES.get(name, name)
        value, *prompt = re.split(
            r"[\r\n]" if name == "negative_prompt" else r"\s", body, maxsplit=1
        )
        raw[name] = value.strip()
        rest += prompt
    options.prompt = re.sub(r" {2,}", " ", " ".join(rest)).strip()
    style = raw.get("style") or style
    for name, value in raw.items():
        _take(options, name, value, mode, style)
    return options


def _begins_option(match: re.Match[str], names: Collection[str]) -> bool:
    name = match["name"].lower()
    near = difflib.get_close_matches(name, names, n=1, cutoff=_NEARLY)
    return match["dash"] == "--" or bool(near)


def _take(options: Options, name: str, value: str, mode: ModeInfo, style: str | None) -> None:
    if name == "size":
        _take_size(options, value, mode, style)
    elif name == "style":
        _take_style(options, value, mode)
    elif (schema := schema_of(mode, name)) is None or not _can_be_written(schema):
        offered = _offered(mode)
        near = difflib.get_close_matches(name, offered, n=1)
        key = "option.misspelt" if near else "option.unknown"
        known = ", ".join(f"--{option}" for option in offered)
        options.faults.append(Fault(key, {"name": name, "near": "".join(near), "known": known}))
    elif schema["type"] == "boolean":
        _take_switch(options, name, value)
    elif not value:
        options.faults.append(Fault("option.empty", {"name": name}))
    elif schema.get("enum") and value not in schema["enum"]:
        shown = {"name": name, "value": value[:40], "known": ", ".join(schema["enum"])}
        options.faults.append(Fault("option.choice", shown))
    elif schema["type"] == "string":
        options.values[name] = value
    else:
        _take_number(options, name, value, schema)


def _offered(mode: ModeInfo) -> list[str]:
    """Return the options of this mode, as people write them."""
    schemas: Mapping[str, Mapping[str, Any]] = mode.parameters.get("properties", {})
    own = [n for n, schema in schemas.items() if n != "prompt" and _can_be_written(schema)]
    return list(dict.fromkeys(["style", *(_SHORT.get(name, name) for name in own)]))


def _can_be_written(schema: Mapping[str, Any]) -> bool:
    """Return whether a parameter can be given in a text; a newer backend may have other types."""
    return schema.get("type") in ("string", "integer", "number", "boolean") and not schema.get(
        "contentEncoding"
    )


def _take_switch(options: Options, name: str, value: str) -> None:
    """Take `--name`, `--name yes` or `--name no`; other words belong to the prompt."""
    if value.lower() in ("no", "false", "off", "0"):
        options.values[name] = False
        return
    options.values[name] = True
    if value.lower() not in ("", "yes", "true", "on", "1"):
        options.faults.append(Fault("option.switch", {"name": name, "value": value[:40]}))


def _take_number(options: Options, name: str, value: str, schema: Mapping[str, Any]) -> None:
    whole = schema["type"] == "integer"
    shape = r"-?\d{1,18}" if whole else r"-?\d{1,9}([.,]\d{1,9})?"
    low, high = schema.get("minimum"), schema.get("maximum")
    text = value.replace(",", ".")
    number: int | float | None = None
    if re.fullmatch(shape, value):
        number = int(text) if whole else float(text)
    inside = number is not None and (
        (low is None or number >= low) and (high is None or number <= high)
    )
    step = schema.get("multipleOf")
    if number is None or not inside:
        allowed = {"low": f"{low:g}" if low is not None else "-", "high": _shown(high)}
        key = "option.whole" if whole else "option.number"
        options.faults.append(Fault(key, {"name": name, "value": value[:40], **allowed}))
    elif step and number % step:
        options.faults.append(Fault("option.step", {"name": name, "step": f"{step:g}"}))
    else:
        options.values[name] = number


def _shown(high: float | None) -> str:
    return "-" if high is None else f"{high:.0f}" if high > 1e6 else f"{high:g}"


def _take_style(options: Options, value: str, mode: ModeInfo) -> None:
    names = {style.name: style.name for style in mode.styles}
    for style in mode.styles:
        names |= {title.lower(): style.name for title in style.title.values()}
    if name := names.get(value.lower()):
        options.values["style"] = name
        return
    near = difflib.get_close_matches(value.lower(), names, n=1, cutoff=0.5)
    shown = {"value": value[:40], "known": ", ".join(style.name for style in mode.styles)}
    key = "option.style_near" if near else "option.style"
    options.faults.append(Fault(key, {**shown, "near": names[near[0]] if near else ""}))


def _take_size(options: Options, value: str, mode: ModeInfo, style: str | None) -> None:
    sizes = style_of(mode, style).sizes
    sides = re.fullmatch(r"(\d{2,5})[x×*хX](\d{2,5})", value)
    if value in sizes:
        options.values |= {"width": sizes[value][0], "height": sizes[value][1]}
    elif sides:
        for name, side in zip(("width", "height"), sides.groups(), strict=True):
            schema = schema_of(mode, name)
            if schema is not None:
                _take_number(options, name, side, schema)
    else:
        shown = {"value": value[:40], "known": ", ".join(sizes)}
        options.faults.append(Fault("option.size", shown))
