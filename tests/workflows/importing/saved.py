"""Workflows as ComfyUI's front end saves them, small and made by hand."""

import json
from typing import Any

Saved = dict[str, Any]
ENTRY, EXIT = -10, -20
"""The ids of a subgraph's own inputs and outputs."""


def node(
    key: int | str,
    kind: str,
    inputs: list[Saved] | None = None,
    outputs: tuple[str, ...] = (),
    values: Any = None,
    **more: Any,
) -> Saved:
    return {
        "id": key,
        "type": kind,
        "mode": 0,
        "inputs": inputs or [],
        "outputs": [{"name": each, "type": each, "links": []} for each in outputs],
        "properties": {},
        "widgets_values": [] if values is None else values,
        **more,
    }


def slot(name: str, kind: str, link: int | None = None, *, widget: bool = False) -> Saved:
    more = {"widget": {"name": name}} if widget else {}
    return {"name": name, "type": kind, "link": link, **more}


def workflow(nodes: list[Saved], links: list[list[Any]], **more: Any) -> Saved:
    """Return a workflow; each link is `[id, from node, output, to node, input, type]`."""
    return {"version": 0.4, "nodes": nodes, "links": links, "extra": {}, **more}


def subgraph(
    key: str, nodes: list[Saved], links: list[list[Any]], inputs: tuple[tuple[str, str], ...] = ()
) -> Saved:
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return {
        "id": key,
        "name": key,
        "nodes": nodes,
        "links": [dict(zip(keys, link, strict=True)) for link in links],
        "inputNode": {"id": ENTRY},
        "outputNode": {"id": EXIT},
        "inputs": [{"name": name, "type": kind} for name, kind in inputs],
        "outputs": [],
    }


def data(content: Any) -> bytes:
    return json.dumps(content).encode()


def loader(link: int | None = None) -> Saved:
    """Return a checkpoint loader whose file may come by a link."""
    inputs = [] if link is None else [slot("ckpt_name", "COMBO", link, widget=True)]
    values = ["my-model.safetensors"]
    return node(1, "CheckpointLoaderSimple", inputs, ("MODEL", "CLIP", "VAE"), values)


def drawing() -> Saved:
    """Return words to picture: what ComfyUI opens with, at its smallest."""
    sampler = [20, "randomize", 8, 8.5, "euler", "normal", 1]
    samplers = [
        slot("model", "MODEL", 1),
        slot("positive", "CONDITIONING", 2),
        slot("negative", "CONDITIONING", 3),
        slot("latent_image", "LATENT", 4),
    ]
    return workflow(
        [
            loader(),
            node(2, "CLIPTextEncode", [slot("clip", "CLIP", 5)], ("CONDITIONING",), ["a fox"]),
            node(3, "CLIPTextEncode", [slot("clip", "CLIP", 6)], ("CONDITIONING",), ["blurry"]),
            node(4, "EmptyLatentImage", [], ("LATENT",), [512, 768, 1]),
            node(5, "KSampler", samplers, ("LATENT",), sampler, title="Sampler"),
            node(6, "VAEDecode", [slot("samples", "LATENT", 7), slot("vae", "VAE", 8)], ("IMAGE",)),
            node(7, "SaveImage", [slot("images", "IMAGE", 9)], (), ["easel"]),
        ],
        [
            [1, 1, 0, 5, 0, "MODEL"],
            [2, 2, 0, 5, 1, "CONDITIONING"],
            [3, 3, 0, 5, 2, "CONDITIONING"],
            [4, 4, 0, 5, 3, "LATENT"],
            [5, 1, 1, 2, 0, "CLIP"],
            [6, 1, 1, 3, 0, "CLIP"],
            [7, 5, 0, 6, 0, "LATENT"],
            [8, 1, 2, 6, 1, "VAE"],
            [9, 6, 0, 7, 0, "IMAGE"],
        ],
    )


def find(content: Saved, key: int) -> Saved:
    found: Saved = next(each for each in content["nodes"] if each["id"] == key)
    return found
