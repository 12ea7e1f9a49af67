"""The switches of a graph that a person has named: each is a choice for callers."""

import re
from collections.abc import Iterator

from workflows.proposing.net import SWITCHES, Net, Slot

_PRIMITIVE = "PrimitiveBoolean"
_RESERVED = {"mode", "style", "user", "format", "count", "steps", "strength"}
_LONGEST = 40


def title_of(net: Net, slot: Slot) -> str:
    """Return what a person called it; of `Boolean (Add grain?)` that is `Add grain?`."""
    title = str(net.graph[slot[0]].get("_meta", {}).get("title", ""))
    inner = re.fullmatch(r"\w* ?\((.+)\)", title)
    return inner[1] if inner else title


def switches(net: Net) -> Iterator[tuple[str, Slot]]:
    """Yield a name and the input of every named boolean that turns a part of the graph on."""
    usual = str(net.definitions.get(_PRIMITIVE, {}).get("display_name") or "")
    seen: set[str] = set()
    for key in net.graph:
        if net.class_of(key) not in SWITCHES or (slot := net.origin((key, "switch"))) is None:
            continue
        title = title_of(net, slot)
        name = re.sub(r"[^a-z0-9]+", "_", title.lower())[:_LONGEST].strip("_")
        is_named = title not in ("", usual, _PRIMITIVE) and bool(re.match("[a-z]", name))
        is_boolean = net.class_of(slot[0]) == _PRIMITIVE and isinstance(net.value(slot), bool)
        if is_boolean and is_named and name not in seen and name not in _RESERVED:
            seen.add(name)
            yield name, slot
