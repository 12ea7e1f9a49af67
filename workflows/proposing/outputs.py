"""Which of a workflow's outputs is the picture; the rest of the graph is left out."""

import re
from collections.abc import Sequence

from workflows.graph import Graph
from workflows.importing import NotAMode, Reason
from workflows.proposing.net import Net, Slot, is_link
from workflows.proposing.questions import Choose, Question

_NOT_ONE_PICTURE = re.compile("animated|webm|video|audio|gif|3d|mesh|glb|dataset|training", re.I)
_ONE_OF_MANY = ("ImageFromBatch", "LatentFromBatch")
_ADDS_ALPHA = "JoinImageWithAlpha"
_MOST_LEFT_OUT = 3
"""Outputs that are named one by one; of more, only how many they are is told."""
_OTHER_MEDIA = {
    "VIDEO": "a video", "AUDIO": "sound", "MESH": "a 3D model", "FILE_3D": "a 3D model",
    "SVG": "a drawing in SVG", "VOXEL": "a 3D model", "SPLAT": "a 3D model",
}  # fmt: skip


def find_picture(net: Net, choose: Choose) -> tuple[str, str]:
    """Return the output node that saves the picture and its input. Raises NotAMode if none does."""
    found = [slot for key in net.graph if (slot := _picture_input(net, key))]
    saved = [slot for slot in found if net.class_of(slot[0]) != "PreviewImage"]
    media = sorted({what for key in net.graph for what in _other_media(net, key)})
    if not saved and media:
        raise NotAMode(Reason("", "", f"it makes {' and '.join(media)}, and no picture is saved"))
    ranked = sorted(saved or found, key=lambda slot: -len(net.above(slot[0])))
    if not ranked:
        raise NotAMode(Reason("", "", "none of its nodes saves or shows a picture"))
    lines = [describe(net, slot[0]) for slot in ranked]
    picture = ranked[choose(Question("picture", lines)) if len(ranked) > 1 else 0]
    frames = [
        Reason(key, net.class_of(key), f"it makes {length} frames, which is a video, no picture")
        for key in net.above(picture[0], not_beyond=_ONE_OF_MANY)
        if isinstance(length := net.graph[key]["inputs"].get("length"), int)
        and length > 1
        and net.gives(key, "LATENT")
    ]
    if frames:
        raise NotAMode(*frames)
    return picture


def keep_only(net: Net, picture: Slot) -> tuple[Graph, list[str]]:
    """Return what the picture needs, ending in one SaveImage, and a sentence for what it lacks."""
    kept = set(net.above(picture[0]))
    key, entry = picture
    title = net.graph[key].get("_meta", {}).get("title", "")
    ending = {
        "class_type": "SaveImage",
        "inputs": {"images": net.value((key, entry)), "filename_prefix": "easel"},
        "_meta": {"title": title},
    }
    graph = {each: node for each, node in net.graph.items() if each in kept} | {key: ending}
    others = [key for key in net.graph if key not in kept and _is_output(net, key)]
    why = f"left out: one output is the picture, {describe(net, picture[0])}"
    if len(others) > _MOST_LEFT_OUT:
        return graph, [f"{len(others)} other outputs are {why}"]
    return graph, [f"{describe(net, other)} is {why}" for other in others]


def is_clear(net: Net, picture: Slot) -> bool:
    """Whether the picture has transparent parts."""
    value = net.value(picture)
    return is_link(value) and net.class_of(value[0]) == _ADDS_ALPHA


def describe(net: Net, key: str) -> str:
    """Name a node for a person: its title, its class and its id."""
    title = net.graph[key].get("_meta", {}).get("title", "")
    name = net.class_of(key)
    return f"'{title}' ({name}, node {key})" if title and title != name else f"{name} (node {key})"


def _picture_input(net: Net, key: str) -> Slot | None:
    if not _is_output(net, key) or _NOT_ONE_PICTURE.search(net.class_of(key)):
        return None
    for name in ("images", "image"):
        value = net.graph[key]["inputs"].get(name)
        if is_link(value) and net.output_kind(value[0], value[1]) == "IMAGE":
            return key, name
    return None


def _is_output(net: Net, key: str) -> bool:
    return net.definitions.get(net.class_of(key), {}).get("output_node") is True


def _other_media(net: Net, key: str) -> Sequence[str]:
    if not _is_output(net, key):
        return ()
    kinds = [net.output_kind(link.source, link.output) for link in net.links(key)]
    found = [what for kind in kinds for name, what in _OTHER_MEDIA.items() if kind.startswith(name)]
    if _NOT_ONE_PICTURE.search(net.class_of(key)) and not found:
        return ("a video",) if "IMAGE" in kinds else ("no picture",)
    return found
