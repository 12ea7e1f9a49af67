"""Which photos a graph takes, which of them is a mask, and which may be left out."""

import re
from collections.abc import Iterator

from workflows.proposing.net import Link, Net, Slot

_MASK_CLASS = "LoadImageMask"
_PAINTING = re.compile("Inpaint|Composite")


def photos(net: Net) -> tuple[list[Slot], list[Slot]]:
    """Return the inputs that take a picture and those that take a mask.

    The pictures come in the order of the inputs they reach (`image1` before `image2`).
    """
    pictures: list[Slot] = []
    masks: list[Slot] = []
    for key in net.graph:
        for name in net.graph[key]["inputs"]:
            if not isinstance(net.value((key, name)), str):
                continue
            if net.spec((key, name))[1].get("image_upload"):
                is_mask = net.class_of(key) == _MASK_CLASS or _gives_only_a_mask(net, key)
                (masks if is_mask else pictures).append((key, name))
    order = {key: place for place, key in enumerate(_by_use(net))}
    return sorted(pictures, key=lambda slot: order.get(slot[0], len(order))), masks


def with_own_mask(net: Net, photo: str) -> Slot | None:
    """Take a mask that was painted into a photo from a picture of its own; return its input.

    Photos arrive without transparency, which is where ComfyUI keeps what was painted.
    """
    users = [(user, link.input) for user, link in _users(net, photo) if link.output == 1]
    if net.output_kind(photo, 1) != "MASK" or not any(_paints(net, user) for user, _ in users):
        return None
    key = f"{photo}.mask"
    node = {"class_type": "LoadImage", "inputs": {"image": "mask.png"}, "_meta": {"title": ""}}
    net.graph[key] = node
    for user, name in users:
        inputs = {**net.graph[user]["inputs"], name: [key, 1]}
        net.graph[user] = {**net.graph[user], "inputs": inputs}
    return key, "image"


def _paints(net: Net, key: str) -> bool:
    """Whether a mask that goes here says where to draw, and not only what was transparent."""
    waiting = [key]
    for each in waiting:
        name = net.class_of(each)
        if net.gives(each, "LATENT") or net.gives(each, "CONDITIONING") or _PAINTING.search(name):
            return True
        if net.gives(each, "MASK"):
            waiting += [user for user, _ in _users(net, each) if user not in waiting]
    return False


def may_be_left_out(net: Net, photo: str) -> bool:
    """Whether the graph works without a photo: its node, and what only it feeds, can go."""
    waiting, seen = [photo], {photo}
    for key in waiting:
        for user, link in _users(net, key):
            inputs = net.definitions.get(net.class_of(user), {}).get("input", {})
            if link.input in inputs.get("optional", {}) or "." in link.input:
                continue
            if any(other.source not in seen for other in net.links(user)):
                return False
            if user not in seen:
                seen.add(user)
                waiting.append(user)
                if not list(_users(net, user)):
                    return False  # the picture itself
    return True


def _gives_only_a_mask(net: Net, key: str) -> bool:
    used = {link.output for _, link in _users(net, key)}
    return used == {1} and net.output_kind(key, 1) == "MASK"


def _users(net: Net, key: str) -> Iterator[tuple[str, Link]]:
    for other in net.graph:
        for link in net.links(other):
            if link.source == key:
                yield other, link


def _by_use(net: Net) -> list[str]:
    """Return the nodes in the order in which they feed inputs with numbers in their names."""
    found: dict[str, None] = {}
    for key in net.graph:
        numbered = [li for li in net.links(key) if li.input[-1:].isdigit()]
        for link in sorted(numbered, key=lambda li: li.input):
            found.update(dict.fromkeys(net.above(link.source)))
    return list(found)
