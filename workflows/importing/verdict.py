"""Judge whether a graph can be a mode: known nodes, nothing paid, and a picture at the end."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from workflows.graph import Graph, source_of
from workflows.importing.about import least_version
from workflows.importing.types import Definitions, Reason, short

_PREVIEWS = {"PreviewImage", "MaskPreview"}
_VIEWERS = {"ImageCompare", "PreviewAny", "CreateBoundingBoxes", "ImageCompositor"}
"""Output nodes that take images and keep none."""
_ANIMATIONS = {"SaveAnimatedWEBP", "SaveAnimatedPNG", "SaveWEBM", "VHS_VideoCombine"}
_MEDIA = {
    "VIDEO": "a video",
    "AUDIO": "sound",
    "MESH": "a 3D model",
    "SPLAT": "a 3D model",
    "FILE_3D": "a 3D model",
    "LATENT": "a latent",
    "SVG": "a vector drawing",
}
_UPLOADS = {"video_upload": "a video", "audio_upload": "sound", "file_upload": "a file"}
_PAID = re.compile(
    r"(Beeble|Bria|ByteDance|Clarity|Claude|ElevenLabs|FishAudio|Gemini|Grok|HappyHorse|HeyGen"
    r"|Higgsfield|HitPaw|Ideogram|Kling|Krea\d|LtxApi|Luma|Magnific|Meshy|MetaMuse|MinimaxHailuo"
    r"|Mireilo|Mirelo|Moonvalley|OpenAI|OpenRouter|Pika|Pixverse|Pruna|Quiver|Recraft|Rodin3D"
    r"|Runway|Sonilo|Stability|Sync|Tencent|Topaz|Tripo|Veed|Veo|Vidu|Wavespeed)\w*"
    r"|Flux\w*Node|\w+Api"
)
"""Classes of ComfyUI's partner nodes, where their definitions are not at hand to tell."""


def reasons(
    graph: Graph, definitions: Definitions, packs: Mapping[str, str], ui: Mapping[str, Any]
) -> list[Reason]:
    """Return every reason against a mode, one for each class of nodes."""
    if not graph:
        return [Reason("", "", "it has no node that runs")]
    first: dict[str, str] = {}
    for key, node in graph.items():
        first.setdefault(node["class_type"], key)
    version = least_version(ui)
    found = [
        Reason(short(key), short(kind), fault)
        for kind, key in first.items()
        if (fault := _fault_in_class(kind, definitions.get(kind), packs.get(kind, ""), version))
    ]
    if any(kind not in definitions for kind in first):  # outputs of unknown nodes are unknown
        return found
    return found + list(_faults_in_outputs(graph, definitions))


def _fault_in_class(
    kind: str, definition: Mapping[str, Any] | None, pack: str, version: str
) -> str:
    paid = "calls a paid service of another company; a mode runs on your own GPU only"
    if definition is not None:
        module = str(definition.get("python_module", ""))
        is_paid = definition.get("api_node") or module.startswith("comfy_api_nodes")
        return paid if is_paid else _fault_in_source(definition)
    if pack:
        return f"this ComfyUI does not have it; install the node pack {pack}"
    if kind.startswith(("workflow>", "workflow/")):
        return "it is a group node of the old kind; convert it to a subgraph in ComfyUI"
    if _PAID.fullmatch(kind):
        return paid
    newer = f", which this workflow was saved with ({version})" if version else ""
    return (
        "this ComfyUI does not have it, and the file names no node pack: it is a custom node, "
        f"or part of a newer ComfyUI{newer}"
    )


def _fault_in_source(definition: Mapping[str, Any]) -> str:
    """Refuse what reads a file that nobody can send with a prompt."""
    for spec in _specs(definition.get("input", {})):
        options = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
        for option, medium in _UPLOADS.items():
            if options.get(option):
                return f"it loads {medium}; a mode takes photos only"
    return ""


def _faults_in_outputs(graph: Graph, definitions: Definitions) -> Iterator[Reason]:
    if pictures(graph, definitions):
        return
    others = {key: kind for key in graph if (kind := _makes(graph[key]["class_type"], definitions))}
    for key, kind in others.items():
        if kind not in ("picture", "preview"):
            text = f"it makes {kind}; a mode makes a picture"
            yield Reason(short(key), short(graph[key]["class_type"]), text)
    if not others:
        yield Reason("", "", "no node of it saves a picture; add a SaveImage node")


def pictures(graph: Graph, definitions: Definitions) -> list[str]:
    """Return the nodes that save a picture, or those that show one if nothing is saved at all."""
    made = {key: _makes(graph[key]["class_type"], definitions) for key in graph}
    saved = [key for key, kind in made.items() if kind == "picture"]
    if saved or any(kind not in ("", "preview") for kind in made.values()):
        return saved
    return [key for key, kind in made.items() if kind == "preview"]


def _makes(kind: str, definitions: Definitions) -> str:
    """Say what an output node makes: `picture`, `preview`, another medium, or nothing to keep."""
    definition = definitions.get(kind) or {}
    if kind in _PREVIEWS:
        return "preview"
    if kind in _ANIMATIONS:
        return "a video"
    if not definition.get("output_node") or kind in _VIEWERS:
        return ""
    specs = _specs(definition.get("input", {}))
    types = {part for spec in specs for part in str(spec[0]).split(",")}
    for medium, words in _MEDIA.items():
        if any(each == medium or each.startswith(f"{medium}_") for each in types):
            return words
    return "picture" if "IMAGE" in types else ""


def _specs(inputs: Mapping[str, Any]) -> Iterator[list[Any]]:
    for section in ("required", "optional"):
        yield from (spec for spec in (inputs.get(section) or {}).values() if spec)


def needed(graph: Graph, definitions: Definitions) -> tuple[Graph, list[str]]:
    """Return what the pictures depend on, in the graph's order, and say what was left out."""
    kept: set[str] = set()
    waiting = pictures(graph, definitions)
    while waiting:
        key = waiting.pop()
        if key not in kept:
            kept.add(key)
            sources = map(source_of, graph[key]["inputs"].values())
            waiting += [source for source in sources if source is not None]
    left = [
        f"left out '{short(node['_meta']['title'])}' (node {short(key)}, "
        f"{short(node['class_type'])}): no saved picture depends on it"
        for key, node in graph.items()
        if key not in kept
    ]
    return {key: node for key, node in graph.items() if key in kept}, left
