"""Which texts of a graph are the prompt: those that reach a sampler's positive or negative."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from workflows.proposing.net import Link, Net, Slot

_CONDITIONING = "CONDITIONING"
_ROLES = ("positive", "negative")
_FIXED = re.compile("system|instruction|template|prefix|suffix", re.I)
_TOLD_A_MODEL = re.compile(r"\W*(system.?prompt|you are an?\b|你是)", re.I)
_MEANT = re.compile("prompt|text|description", re.I)
_WORDS = ("prompt", "text", "value", "string", "caption")
_NOTHING = "ConditioningZeroOut"


@dataclass(frozen=True)
class Words:
    """A text that a caller may replace, and every input it stands in."""

    slots: tuple[Slot, ...]
    text: str


def prompts(net: Net) -> dict[str, list[Words]]:
    """Return the texts that could be the prompt and the negative prompt, the best ones first."""
    reached: dict[str, dict[Words, int]] = {role: {} for role in _ROLES}
    for link in _ends(net):
        role = "negative" if "neg" in link.input or link.input == "uncond" else "positive"
        for words in _encoded(net, link, role):
            reached[role][words] = reached[role].get(words, 0) + 1
    shared = reached["positive"].keys() & reached["negative"].keys()
    if reached["positive"].keys() - shared:  # a guider's middle, or an instruction for both
        reached["positive"] = {w: n for w, n in reached["positive"].items() if w not in shared}
    else:
        reached["negative"] = {w: n for w, n in reached["negative"].items() if w not in shared}
    if not reached["positive"]:
        reached["positive"] = dict.fromkeys(_other_texts(net, reached["negative"]), 1)
    return {role: _merged(net, found) for role, found in reached.items()}


def _ends(net: Net) -> Iterator[Link]:
    """Yield the links where conditioning is used up: at samplers and guiders."""
    for key in net.graph:
        if not net.gives(key, _CONDITIONING):
            for link in net.taken(key):
                if net.output_kind(link.source, link.output) == _CONDITIONING and not _passes(
                    net, key
                ):
                    yield link


def _passes(net: Net, key: str) -> bool:
    kinds = net.definitions.get(net.class_of(key), {}).get("output", [])
    return any(net.output_kind(key, at) == _CONDITIONING for at in range(len(kinds)))


def _encoded(net: Net, link: Link, role: str) -> Iterator[Words]:
    """Follow conditioning upwards, and yield the texts that it encodes."""
    waiting, seen = [link], set()
    for each in waiting:
        key = each.source
        if (key, each.output) in seen or (net.class_of(key) == _NOTHING and role == "negative"):
            continue
        seen.add((key, each.output))
        ways = [
            way
            for way in net.taken(key)
            if net.output_kind(way.source, way.output) == _CONDITIONING
        ]
        named = [way for way in ways if way.input == net.output_name(key, each.output)]
        if not named and each.output < len(_ROLES):
            named = [way for way in ways if way.input == _ROLES[each.output] and len(ways) > 1]
        waiting += named or ways
        yield from _texts_of(net, key, role)


def _texts_of(net: Net, key: str, role: str) -> Iterator[Words]:
    """Yield the texts of an encoder: what stands in it is one, each that is linked its own."""
    slots = [(key, name) for name in net.graph[key]["inputs"] if _is_words(net, (key, name))]
    unwanted = [slot for slot in slots if "neg" in slot[1]]
    if unwanted:  # it encodes both
        slots = unwanted if role == "negative" else [s for s in slots if s not in unwanted]
    own = tuple(slot for slot in slots if isinstance(net.value(slot), str))
    if own:
        yield Words(own, max((net.value(slot) for slot in own), key=len))
    for slot in slots:
        if slot not in own:
            yield from (Words((text,), net.value(text)) for text in net.texts(slot))


def _is_words(net: Net, slot: Slot) -> bool:
    kind, options = net.spec(slot)
    return kind == "STRING" and bool(
        options.get("multiline") or options.get("dynamicPrompts") or slot[1] in ("text", "prompt")
    )


def _other_texts(net: Net, negative: dict[Words, int]) -> Iterator[Words]:
    """Without a sampler: every long text of the graph."""
    taken = {slot for words in negative for slot in words.slots}
    for key in net.graph:
        for slot in ((key, name) for name in _WORDS if name in net.graph[key]["inputs"]):
            value = net.value(slot)
            if slot not in taken and isinstance(value, str) and net.spec(slot)[1].get("multiline"):
                yield Words((slot,), value)


def _merged(net: Net, found: dict[Words, int]) -> list[Words]:
    """Join what has the same text, and put first what reaches most and is no fixed instruction."""
    same: dict[str, tuple[tuple[Slot, ...], int]] = {}
    for words, count in found.items():
        text = words.text.strip()
        slots, before = same.get(text, ((), 0))
        same[text] = (tuple(dict.fromkeys((*slots, *words.slots))), before + count)
    ranked = [(Words(slots, text), count) for text, (slots, count) in same.items()]
    ranked.sort(key=lambda pair: _rank(net, *pair))
    return [words for words, _ in ranked]


def _rank(net: Net, words: Words, count: int) -> tuple[int, int, bool, bool]:
    key, entry = words.slots[0]
    title = str(net.graph[key].get("_meta", {}).get("title", ""))
    fixed = bool(_FIXED.search(title)) + 2 * bool(_TOLD_A_MODEL.match(words.text))
    is_own = len(net.graph[key]["inputs"]) == 1  # a node for nothing but this text
    return fixed, -count, not is_own, not _MEANT.search(f"{title} {entry}")
