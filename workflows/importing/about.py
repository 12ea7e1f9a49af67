"""What a workflow tells about itself beside its graph: models, node packs, ComfyUI's version."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from workflows.graph import Graph
from workflows.importing.types import Definitions, ModelFile, refusal, short

CORE = "comfy-core"
_OWN_MODULES = ("nodes", "comfy_extras", "comfy_api_nodes")
_VERSION = re.compile(r"\d{1,4}(\.\d{1,4}){1,3}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_OTHER_HASHES = ("MD5", "CRC32", "BLAKE3", "AUTOV1", "AUTOV2")


def models_of(ui: Mapping[str, Any], graph: Graph) -> tuple[ModelFile, ...]:
    """Return the models that the workflow lists and its graph loads.

    Raises NotAMode if one would be saved outside of the models folder.
    """
    loaded = {
        value.replace("\\", "/").rpartition("/")[2]
        for node in graph.values()
        for value in node["inputs"].values()
        if isinstance(value, str)
    }
    found: dict[tuple[str, str], ModelFile] = {}
    for entry in _entries(ui):
        name, directory = str(entry.get("name") or ""), str(entry.get("directory") or "")
        if name.replace("\\", "/").rpartition("/")[2] not in loaded:
            continue
        if _leads_out(name) or _leads_out(directory):
            raise refusal(f"its model '{short(name)}' would lie outside of the models folder")
        url = str(entry.get("url") or "")
        model = ModelFile(
            name=name,
            url=url if url.startswith(("https://", "http://")) and url.isprintable() else "",
            directory=directory,
            hash=_sha256(entry),
        )
        found.setdefault((directory, name), model)
    return tuple(found.values())


def _entries(ui: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    places = [ui.get("models"), *(props.get("models") for _, props in _properties(ui))]
    for place in places:
        if isinstance(place, list):
            yield from (entry for entry in place if isinstance(entry, dict))


def _properties(ui: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield class and properties of every node, those in subgraphs too."""
    definitions = ui.get("definitions")
    subgraphs = definitions.get("subgraphs") if isinstance(definitions, dict) else None
    for canvas in [ui, *(subgraphs if isinstance(subgraphs, list) else [])]:
        nodes = canvas.get("nodes") if isinstance(canvas, Mapping) else None
        for node in nodes if isinstance(nodes, list) else []:
            if isinstance(node, dict) and isinstance(node.get("properties"), dict):
                yield str(node.get("type")), node["properties"]


def _leads_out(path: str) -> bool:
    parts = path.replace("\\", "/").split("/")
    return ".." in parts or path.startswith(("/", "\\")) or ":" in path or "\0" in path


def _sha256(entry: Mapping[str, Any]) -> str:
    text, kind = str(entry.get("hash") or ""), str(entry.get("hash_type") or "").upper()
    return text.lower() if _SHA256.fullmatch(text) and kind not in _OTHER_HASHES else ""


def packs_of(ui: Mapping[str, Any], graph: Graph, definitions: Definitions) -> dict[str, str]:
    """Return pack and version of the graph's custom classes; ComfyUI's own have no entry."""
    told = {kind: pack for kind, properties in _properties(ui) if (pack := _pack(properties))}
    packs = {}
    for kind in {node["class_type"]: None for node in graph.values()}:
        module = str((definitions.get(kind) or {}).get("python_module", ""))
        if module.startswith("custom_nodes."):
            packs[kind] = told.get(kind) or module.removeprefix("custom_nodes.")
        elif not module.startswith(_OWN_MODULES) and kind in told:
            packs[kind] = told[kind]
    return packs


def _pack(properties: Mapping[str, Any]) -> str:
    pack = properties.get("cnr_id") or properties.get("aux_id")
    if not isinstance(pack, str) or pack == CORE:
        return ""
    version = properties.get("ver")
    return short(f"{pack} {version}" if isinstance(version, str) and version else pack)


def least_version(ui: Mapping[str, Any]) -> str:
    """Return the newest version of ComfyUI that one of the nodes was saved with."""
    extra = ui.get("extra")
    saved = extra.get("node_versions") if isinstance(extra, dict) else None
    versions = [saved.get(CORE)] if isinstance(saved, dict) else []
    versions += [props.get("ver") for _, props in _properties(ui) if props.get("cnr_id") == CORE]
    known = [each for each in versions if isinstance(each, str) and _VERSION.fullmatch(each)]
    return max(known, key=lambda text: [int(part) for part in text.split(".")], default="")
