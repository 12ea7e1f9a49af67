"""Every graph is one that a real ComfyUI accepts."""

from typing import Any

import pytest

from gpu_server.comfy.object_info import faults_in
from tests.workflows import recorded
from tests.workflows.drawing import EVERY_STYLE, FROM_WORDS, OWN, by_title, draw
from workflows.catalog import Catalog
from workflows.graph import Graph
from workflows.render import OUTPUT_CLASSES
from workflows.spec import Parameter, Scalar


def ends(parameter: Parameter) -> list[Scalar]:
    """Return the least and the greatest value that a parameter takes."""
    low, high = parameter.bounds()
    if parameter.type == "text":
        return ["a", "z" * (parameter.max_length or 100)]
    assert low is not None
    assert high is not None
    return [low, high] if parameter.type == "number" else [int(low), int(high)]


@pytest.mark.parametrize("mode", list(OWN))
def test_comfyui_accepts_every_exported_graph(mode: Any, definitions: dict[str, Any]) -> None:
    for name, graph in mode.graphs.items():
        if name != "plain":  # needs the owner's checkpoint; tested below
            assert faults_in(graph, definitions) == []
        for node in graph.values():
            spec = definitions[node["class_type"]]["input"]
            assert node["inputs"].keys() <= {*spec["required"], *spec.get("optional", {})}


@pytest.mark.parametrize(("catalog", "mode", "style"), EVERY_STYLE)
@pytest.mark.parametrize("output_class", [name for name in OUTPUT_CLASSES if name != "EaselOutput"])
def test_comfyui_accepts_the_graph_of_every_style(
    catalog: Catalog, mode: str, style: str, output_class: str, definitions: dict[str, Any]
) -> None:
    rendered = draw(catalog, mode, {"style": style, "count": 3}, output_class=output_class)
    assert faults_in(rendered.graph, definitions) == []


@pytest.mark.parametrize(("catalog", "mode", "style"), EVERY_STYLE)
def test_comfyui_accepts_the_ends_of_every_range(
    catalog: Catalog, mode: str, style: str, definitions: dict[str, Any]
) -> None:
    for name, parameter in catalog.modes[mode].spec.parameters.items():
        if name == "image":
            continue
        for value in ends(parameter):
            sides = {"width": 512, "height": 512} if name in ("width", "height") else {}
            rendered = draw(catalog, mode, {"style": style, **sides, name: value})
            assert faults_in(rendered.graph, definitions) == [], (name, value)


@pytest.mark.parametrize(("catalog", "mode", "style"), FROM_WORDS)
def test_comfyui_accepts_every_size_of_every_style(
    catalog: Catalog, mode: str, style: str, definitions: dict[str, Any]
) -> None:
    sizes = catalog.modes[mode].graph_spec(style).sizes
    assert set(sizes) == {"1:1", "2:3", "3:2", "16:9", "9:16"}
    for ratio, (width, height) in sizes.items():
        across, down = (int(part) for part in ratio.split(":"))
        assert width / height == pytest.approx(across / down, rel=0.05)
        rendered = draw(catalog, mode, {"style": style, "width": width, "height": height})
        landed = by_title(rendered.graph)
        assert (landed["Size.width"], landed["Size.height"]) == (width, height)
        assert faults_in(rendered.graph, definitions) == []
        assert _is_on_steps(rendered.graph, definitions)


def _is_on_steps(graph: Any, definitions: dict[str, Any]) -> bool:
    """Whether the sizes are multiples of ComfyUI's steps; others are silently rounded."""
    return all(
        value % definitions[node["class_type"]]["input"]["required"][name][1].get("step", 1) == 0
        for node in graph.values()
        for name, value in node["inputs"].items()
        if name in ("width", "height")
    )


def test_the_graphs_load_exactly_the_model_files_they_declare() -> None:
    dest = {file["id"]: file["dest"] for file in recorded.model_files()}
    for mode in OWN:
        for name, spec in mode.spec.graphs.items():
            if name != "plain":
                declared = {dest[file] for file in spec.files}
                assert recorded.models_in(mode.graphs[name]) == declared


def test_every_model_file_names_the_styles_that_need_it() -> None:
    needed_by = {file["id"]: set(file["needed_by"]) for file in recorded.model_files()}
    used: dict[str, set[str]] = {name: set() for name in needed_by}
    for mode in OWN:
        for style in mode.styles:
            for file in mode.graph_spec(style).files:
                used[file].add(style)
                assert {style, f"{style}:{mode.name}"} & needed_by[file]
    named = {file: {name.partition(":")[0] for name in names} for file, names in needed_by.items()}
    assert used == named


@pytest.mark.parametrize(
    ("title", "name", "value"),
    [
        ("Sampler", "sampler_name", "euler_typo"),
        ("Sampler", "steps", 0),
        ("Sampler", "cfg", "8"),
        ("Sampler", "model", ["13", 0]),
        ("Sampler", "model", ["99", 0]),
        ("Sampler", "model", "z_image"),
    ],
)
def test_the_check_finds_what_comfyui_would_refuse(
    title: str, name: str, value: Any, definitions: dict[str, Any]
) -> None:
    graph = OWN.modes["free"].graph("realism")
    node = next(node for node in graph.values() if node["_meta"]["title"] == title)
    node["inputs"][name] = value
    assert [(fault.node_class, fault.field) for fault in faults_in(graph, definitions)] == [
        (title, name)
    ]


def test_the_check_finds_a_missing_input_and_an_unknown_class(definitions: dict[str, Any]) -> None:
    graph = OWN.modes["free"].graph("realism")
    del next(n for n in graph.values() if n["class_type"] == "KSampler")["inputs"]["seed"]
    next(n for n in graph.values() if n["class_type"] == "SaveImage")["class_type"] = "SaveImagf"
    assert {fault.message for fault in faults_in(graph, definitions)} == {
        "is missing",
        "is a 'SaveImagf', which this ComfyUI does not have: it is too old, or a node pack is "
        "missing (COMFYUI_CUSTOM_NODES)",
    }


def test_the_check_names_the_nodes_of_every_circle() -> None:
    graph: Graph = {
        key: {"class_type": "Picker", "inputs": {"voice": [source, 0]}}
        for key, source in {"a": "b", "b": "a", "c": "c", "d": "a"}.items()
    }
    circles = [fault for fault in faults_in(graph, CUSTOM) if "circle" in fault.message]
    assert [(fault.node_id, fault.message.count("(b)")) for fault in circles] == [
        ("a", 1),
        ("c", 0),
    ]


CUSTOM: dict[str, Any] = {
    "Picker": {
        "input": {"required": {"colour": ["COLOR"], "voice": ["COMBO", {"remote": {}}]}},
        "output": ["STRING,INT", "*"],
    },
    "Joiner": {
        "input": {
            "required": {
                "words": ["STRING,BOOLEAN"],
                "anything": ["*"],
                "images": ["COMFY_AUTOGROW_V3", {}],
            },
        },
        "output": ["COMFY_MATCHTYPE_V3"],
    },
    "Odd": {"input": {"required": {"a": ["INT", {"min": None}], "b": 5}}, "output": []},
    "Number": 5,
}
"""Custom nodes as `/object_info` describes them; the last two are broken."""


def custom(*nodes: tuple[str, dict[str, Any]]) -> Graph:
    return {
        str(n): {"class_type": name, "inputs": inputs} for n, (name, inputs) in enumerate(nodes)
    }


def test_the_check_passes_custom_types_that_comfyui_accepts() -> None:
    picker = ("Picker", {"colour": "#fff", "voice": "Ann", "saved_by_a_page": {"__value__": [1]}})
    joiner = ("Joiner", {"words": ["0", 0], "anything": ["0", 1], "images.image0": ["0", 1]})
    again = ("Joiner", joiner[1] | {"words": ["1", 0]})
    assert faults_in(custom(picker, joiner, again), CUSTOM) == []


def test_the_check_finds_custom_types_that_do_not_match() -> None:
    saved = custom(
        ("Picker", {"colour": "#fff", "voice": "Ann"}),
        ("Picker", {"colour": ["0", 0], "voice": "Ann"}),
    )
    assert [(fault.node_id, fault.field) for fault in faults_in(saved, CUSTOM)] == [("1", "colour")]


@pytest.mark.parametrize("points", [[[1, 2], [3, 4]], [{"x": 1}, {"x": 2}], [0.5], [["0", 0], 1]])
def test_a_list_is_a_value_only_as_comfyui_wraps_it(points: list[Any]) -> None:
    wrapped = ("Picker", {"colour": {"__value__": points}, "voice": "Ann"})
    bare = ("Picker", {"colour": points, "voice": "Ann"})
    [fault] = faults_in(custom(wrapped, bare), CUSTOM)
    assert (fault.node_id, fault.field) == ("1", "colour")
    assert "__value__" in fault.message


@pytest.mark.parametrize("name", ["Odd", "Number"])
def test_an_unreadable_definition_is_a_fault_of_its_own_node_only(name: str) -> None:
    graph = custom((name, {"a": 1}), ("Picker", {"colour": "#fff", "voice": "Ann"}))
    [fault] = faults_in(graph, CUSTOM)
    assert fault.node_class == name
    assert "cannot be read" in fault.message


def test_an_older_export_with_inputs_of_the_editor_passes(
    definitions: dict[str, Any],
) -> None:
    graph = OWN.modes["restyle"].graph("realism")
    photo = next(node for node in graph.values() if node["class_type"] == "LoadImage")
    photo["inputs"]["upload"] = "image"
    assert faults_in(graph, definitions) == []
