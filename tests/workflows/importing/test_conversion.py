"""What becomes of each form of a workflow in UI format."""

from typing import Any

import pytest

from tests.workflows.importing.saved import (
    ENTRY,
    EXIT,
    Saved,
    data,
    drawing,
    find,
    loader,
    node,
    slot,
    subgraph,
)
from workflows.graph import Graph
from workflows.importing import Imported, convert, read


@pytest.fixture
def imported(definitions: dict[str, Any]) -> Any:
    def run(content: Saved) -> Imported:
        return convert(read(data(content), "x.json"), definitions)

    return run


def link(content: Saved, key: int, parts: list[Any]) -> None:
    """Put a link in the place of the one with the same id, or add it."""
    content["links"] = [each for each in content["links"] if each[0] != key] + [[key, *parts]]


def test_a_plain_save_becomes_the_graph_that_comfyui_would_be_sent(imported: Any) -> None:
    graph: Graph = imported(drawing()).graph

    assert list(graph) == ["1", "2", "3", "4", "5", "6", "7"]
    assert graph["5"] == {
        "class_type": "KSampler",
        "_meta": {"title": "Sampler"},
        "inputs": {
            "model": ["1", 0],
            "positive": ["2", 0],
            "negative": ["3", 0],
            "latent_image": ["4", 0],
            "seed": 20,
            "steps": 8,
            "cfg": 8.5,
            "denoise": 1,
            "sampler_name": "euler",
            "scheduler": "normal",
        },
    }
    assert graph["2"]["_meta"]["title"] == "CLIP Text Encode (Prompt)"
    assert graph["7"]["inputs"] == {"images": ["6", 0], "filename_prefix": "easel"}


def test_version_1_with_links_as_objects_and_ids_as_text_gives_the_same(imported: Any) -> None:
    content = drawing()
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [
        dict(zip(keys, [each[0], str(each[1]), *each[2:]], strict=True))
        for each in content["links"]
    ]
    find(content, 2)["id"] = "2"

    assert imported({**content, "version": 1, "links": links}).graph == imported(drawing()).graph


@pytest.mark.parametrize(
    "values",
    [
        [20, 8, 8.5, "euler", "normal", 1],
        [20, "fixed", 8.0, 8.5, "euler", "normal", 1, "more"],
        {"steps": 8, "seed": 20, "cfg": 8.5, "sampler_name": "euler", "scheduler": "normal"},
    ],
    ids=["before control_after_generate", "whole numbers as floats", "by name"],
)
def test_values_of_widgets_are_read_in_every_form(imported: Any, values: Any) -> None:
    content = drawing()
    find(content, 5)["widgets_values"] = values

    graph = imported(content).graph

    assert graph == imported(drawing()).graph
    assert type(graph["5"]["inputs"]["steps"]) is int


def test_names_of_values_count_until_somebody_changes_the_list(imported: Any) -> None:
    content = drawing()
    named = {"seed": 20, "steps": 8, "cfg": 8.5, "sampler_name": "euler", "scheduler": "normal"}
    find(content, 5).update(
        widgets_values=["dropped widget", 20, "fixed", 8, 8.5, "euler", "normal"],
        widgets_values_named=named,
    )
    assert imported(content).graph["5"]["inputs"]["steps"] == 8

    find(content, 5)["widgets_values"] = [20, "fixed", 30, 8.5, "euler", "normal", 1]
    assert imported(content).graph["5"]["inputs"]["steps"] == 30


def test_a_converted_widget_takes_what_its_link_brings(imported: Any) -> None:
    content = drawing()
    find(content, 5)["inputs"].append(slot("steps", "INT", 10, widget=True))
    content["nodes"].append(node(8, "PrimitiveInt", [], ("INT",), [12, "fixed"]))
    link(content, 10, [8, 0, 5, 4, "INT"])

    graph = imported(content).graph

    assert graph["5"]["inputs"]["steps"] == ["8", 0]
    assert graph["5"]["inputs"]["cfg"] == 8.5


def test_a_primitive_gives_its_value_through_reroutes_and_is_no_node(imported: Any) -> None:
    content = drawing()
    find(content, 5)["inputs"].append(slot("steps", "INT", 10, widget=True))
    content["nodes"] += [
        node(8, "PrimitiveNode", [], ("INT",), [12, "fixed"]),
        node(9, "Reroute", [slot("", "*", 11)], ("INT",)),
        node(10, "Note", values=["about"]),
        node(11, "MarkdownNote", values=["# about"]),
    ]
    link(content, 10, [9, 0, 5, 4, "INT"])
    link(content, 11, [8, 0, 9, 0, "INT"])

    graph = imported(content).graph

    assert graph["5"]["inputs"]["steps"] == 12
    assert len(graph) == 7


def test_a_value_set_elsewhere_by_name_is_found(imported: Any) -> None:
    content = drawing()
    content["nodes"] += [
        node(8, "SetNode", [slot("MODEL", "MODEL", 10)], ("*",), ["the model"]),
        node(9, "GetNode", [], ("MODEL",), ["the model"]),
    ]
    link(content, 10, [1, 0, 8, 0, "MODEL"])
    link(content, 1, [9, 0, 5, 0, "MODEL"])

    assert imported(content).graph == imported(drawing()).graph


def test_a_bypassed_node_passes_on_what_fits_and_a_muted_one_nothing(imported: Any) -> None:
    content = drawing()
    inputs = [slot("model", "MODEL", 10), slot("clip", "CLIP", 11)]
    lora = node(8, "LoraLoader", inputs, ("MODEL", "CLIP"), ["x", 1, 1], mode=4)
    preview = node(9, "PreviewImage", [slot("images", "IMAGE", 12)], mode=2)
    content["nodes"] += [lora, preview]
    for key, parts in {
        1: [8, 0, 5, 0, "MODEL"],
        5: [8, 1, 2, 0, "CLIP"],
        10: [1, 0, 8, 0, "MODEL"],
        11: [1, 1, 8, 1, "CLIP"],
        12: [6, 0, 9, 0, "IMAGE"],
    }.items():
        link(content, key, parts)

    assert imported(content).graph == imported(drawing()).graph


def test_what_no_picture_depends_on_is_left_out_and_said(imported: Any) -> None:
    content = drawing()
    content["nodes"].append(node(8, "VAELoader", [], ("VAE",), ["x"], title="Other VAE"))

    result = imported(content)

    assert result.graph == imported(drawing()).graph
    assert result.left == (
        "left out 'Other VAE' (node 8, VAELoader): no saved picture depends on it",
    )


def promoting(**host: Any) -> Saved:
    """Put text encoder and its prompt into a subgraph within a subgraph."""
    content = drawing()
    text = node(2, "CLIPTextEncode", [slot("clip", "CLIP", 1)], ("CONDITIONING",), ["inner"])
    text["inputs"].append(slot("text", "STRING", 2, widget=True))
    borders = (("clip", "CLIP"), ("words", "STRING"))
    inner = subgraph(
        "inner",
        [text],
        [
            [1, ENTRY, 0, 2, 0, "CLIP"],
            [2, ENTRY, 1, 2, 1, "STRING"],
            [3, 2, 0, EXIT, 0, "CONDITIONING"],
        ],
        borders,
    )
    middle = node(4, "inner", [slot("clip", "CLIP", 1)], ("CONDITIONING",))
    middle["inputs"].append(slot("words", "STRING", 2, widget=True))
    links = [
        [1, ENTRY, 0, 4, 0, "CLIP"],
        [2, ENTRY, 1, 4, 1, "STRING"],
        [3, 4, 0, EXIT, 0, "CONDITIONING"],
    ]
    outer = subgraph("outer", [middle], links, borders)
    find(content, 2).update(type="outer", **{"widgets_values": [], **host})
    return {**content, "definitions": {"subgraphs": [outer, inner]}}


@pytest.mark.parametrize(
    ("host", "prompt"),
    [
        ({}, "inner"),
        ({"widgets_values": ["a hare"]}, "a hare"),
        ({"widgets_values": ["a hare"], "widgets_values_named": {"words": "a hare"}}, "a hare"),
        (
            {
                "widgets_values": [None, "a hare"],
                "properties": {"proxyWidgets": [["4", "x"], ["-1", "words"]]},
            },
            "a hare",
        ),
        ({"widgets_values": [None], "properties": {"proxyWidgets": [["-1", "words"]]}}, "inner"),
    ],
    ids=["not set", "by order", "by name", "promoted", "promoted and not set"],
)
def test_a_promoted_widget_of_nested_subgraphs_has_its_value(
    imported: Any, host: Saved, prompt: str
) -> None:
    graph = imported(promoting(**host)).graph

    assert graph["2:4:2"]["inputs"] == {"text": prompt, "clip": ["1", 1]}
    assert graph["5"]["inputs"]["positive"] == ["2:4:2", 0]


def test_a_link_into_a_subgraph_counts_more_than_its_value(imported: Any) -> None:
    content = promoting(widgets_values=["unused"])
    find(content, 2)["inputs"].append(slot("words", "STRING", 10, widget=True))
    content["nodes"].append(node(8, "PrimitiveString", [], ("STRING",), ["a hare"]))
    link(content, 10, [8, 0, 2, 1, "STRING"])

    assert imported(content).graph["2:4:2"]["inputs"]["text"] == ["8", 0]


def test_a_bypassed_or_muted_subgraph_does_not_run(imported: Any) -> None:
    content = promoting(mode=2)
    content["nodes"].append(find(promoting(mode=4), 2) | {"id": 8})

    graph = imported(content).graph

    assert "positive" not in graph["5"]["inputs"]
    assert not any(key.startswith(("2:", "8:")) for key in graph)


def test_dotted_inputs_of_a_chosen_option_are_kept(imported: Any) -> None:
    content = drawing()
    resize = node(
        8,
        "ResizeImageMaskNode",
        [slot("input", "IMAGE", 10), slot("resize_type.width", "INT", 11, widget=True)],
        ("IMAGE",),
        ["scale dimensions", 512, 640, "center", "area"],
    )
    content["nodes"] += [resize, node(9, "PrimitiveInt", [], ("INT",), [256, "fixed"])]
    link(content, 9, [8, 0, 7, 0, "IMAGE"])
    link(content, 10, [6, 0, 8, 0, "IMAGE"])
    link(content, 11, [9, 0, 8, 1, "INT"])

    assert imported(content).graph["8"]["inputs"] == {
        "input": ["6", 0],
        "resize_type": "scale dimensions",
        "resize_type.width": ["9", 0],
        "resize_type.height": 640,
        "resize_type.crop": "center",
        "scale_method": "area",
    }


def test_growing_inputs_a_photo_and_a_list_as_a_value_are_kept(imported: Any) -> None:
    content = drawing()
    grown = [slot(f"images.image{n}", "IMAGE", 10 + n) for n in range(2)]
    content["nodes"] += [
        node(8, "BatchImagesNode", grown, ("IMAGE",)),
        node(9, "LoadImage", [], ("IMAGE", "MASK"), ["fox.png", "image"]),
    ]
    link(content, 9, [8, 0, 7, 0, "IMAGE"])
    link(content, 10, [6, 0, 8, 0, "IMAGE"])
    link(content, 11, [9, 0, 8, 1, "IMAGE"])
    find(content, 7)["widgets_values"] = [["a", 1]]

    graph = imported(content).graph

    assert graph["8"]["inputs"] == {"images.image0": ["6", 0], "images.image1": ["9", 0]}
    assert graph["9"]["inputs"] == {"image": "fox.png"}
    assert graph["7"]["inputs"]["filename_prefix"] == {"__value__": ["a", 1]}


def test_a_persons_own_choices_come_with_their_number(imported: Any) -> None:
    content = drawing()
    find(content, 2)["inputs"].append(slot("text", "STRING", 10, widget=True))
    values = ["hare", 0, "fox", "hare", ""]
    content["nodes"].append(node(8, "CustomCombo", [], ("STRING", "INT"), values))
    link(content, 10, [8, 0, 2, 1, "STRING"])

    assert imported(content).graph["8"]["inputs"] == {
        "choice": "hare",
        "index": 1,
        "option1": "fox",
        "option2": "hare",
        "option3": "",
    }


def test_models_and_the_version_are_told_and_unused_models_are_not(imported: Any) -> None:
    content = drawing()
    model = {
        "name": "my-model.safetensors",
        "url": "https://example.org/my-model.safetensors",
        "directory": "checkpoints",
        "hash": "AB" * 32,
        "hash_type": "SHA256",
    }
    other = {**model, "name": "other.safetensors"}
    find(content, 1)["properties"] = {
        "cnr_id": "comfy-core",
        "ver": "0.9.0",
        "models": [model, other],
    }
    find(content, 7)["properties"] = {"cnr_id": "comfy-core", "ver": "0.11.1"}

    result = imported(content)

    (found,) = result.models
    assert (found.name, found.directory, found.hash) == (model["name"], "checkpoints", "ab" * 32)
    assert found.url == model["url"]
    assert result.least_version == "0.11.1"


def test_a_graph_in_api_format_stays_as_it_is(imported: Any) -> None:
    graph = imported(drawing()).graph
    sent = {key: {**each, "is_changed": [float("nan")]} for key, each in graph.items()}
    sent["5"] = {**sent["5"], "inputs": {**graph["5"]["inputs"], "model": [1, 0]}}

    assert imported(sent).graph == graph


def test_the_loader_of_a_model_may_take_its_name_from_a_subgraph(imported: Any) -> None:
    content = drawing()
    inner = subgraph(
        "loading",
        [loader(1)],
        [
            [1, ENTRY, 0, 1, 0, "COMBO"],
            [2, 1, 0, EXIT, 0, "MODEL"],
            [3, 1, 1, EXIT, 1, "CLIP"],
            [4, 1, 2, EXIT, 2, "VAE"],
        ],
        (("ckpt_name", "COMBO"),),
    )
    content["nodes"][0] = node(1, "loading", [], ("MODEL", "CLIP", "VAE"), ["other.safetensors"])
    graph = imported({**content, "definitions": {"subgraphs": [inner]}}).graph

    assert graph["1:1"]["inputs"]["ckpt_name"] == "other.safetensors"
    assert graph["6"]["inputs"]["vae"] == ["1:1", 2]
