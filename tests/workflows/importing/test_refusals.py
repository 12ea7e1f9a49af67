"""What is said of workflows that cannot become a mode."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from tests.workflows.importing.saved import (
    ENTRY,
    EXIT,
    Saved,
    data,
    drawing,
    find,
    node,
    slot,
    subgraph,
    workflow,
)
from workflows.importing import Definitions, NotAMode, Reason, convert, read


def refused(content: Any, definitions: Definitions) -> tuple[Reason, ...]:
    with pytest.raises(NotAMode) as caught:
        convert(read(data(content), "x.json"), definitions)
    return caught.value.reasons


def changed(change: Callable[[Saved], object]) -> Saved:
    content = drawing()
    change(content)
    return content


def circle_of_reroutes(content: Saved) -> None:
    content["nodes"] += [
        node(8, "Reroute", [slot("", "*", 10)], ("*",)),
        node(9, "Reroute", [slot("", "*", 11)], ("*",)),
    ]
    content["links"] += [[10, 9, 0, 8, 0, "*"], [11, 8, 0, 9, 0, "*"]]
    find(content, 7)["inputs"] = [slot("images", "IMAGE", 12)]
    content["links"].append([12, 8, 0, 7, 0, "*"])


def nested(*names: str) -> Saved:
    """Return subgraphs that each hold ten of the next; the last name is a plain node's class."""
    subgraphs = [
        subgraph(name, [node(n, inner) for n in range(10)], [])
        for name, inner in itertools.pairwise(names)
    ]
    return workflow([node(1, names[0])], [], definitions={"subgraphs": subgraphs})


BROKEN: dict[str, tuple[Saved, str]] = {
    "two nodes with one id": (
        changed(lambda c: find(c, 7).update(id="5")),
        "two nodes with the id 5",
    ),
    "no node": (workflow([], []), "no node that runs"),
    "nodes that are none": ({"nodes": [1, None]}, "nodes must be a list of objects"),
    "a node without a type": ({"nodes": [{"id": 1}]}, "without an id or a type"),
    "a missing link": (
        changed(lambda c: c["links"].pop()),
        r"node 7 \(SaveImage\): its input 'images' has a link to nothing",
    ),
    "a missing node": (
        changed(lambda c: c["nodes"].remove(find(c, 6))),
        r"node 7 \(SaveImage\): its input 'images' has a link to nothing",
    ),
    "a link of another form": (
        changed(lambda c: c["links"].append([1, 2])),
        "a link has neither the form of version 0.4",
    ),
    "a slot that is no number": (
        changed(lambda c: c["links"].append([10, 1, "x", 2, 0, "*"])),
        "link 10 has a slot that is no number",
    ),
    "links without end": (
        changed(lambda c: c.update(links=c["links"][:1] * 50_001)),
        "has 50001 links; at most 50000 are read",
    ),
    "ten thousand nodes": (
        changed(lambda c: c["nodes"].extend(node(n, "Note") for n in range(10, 11_000))),
        "nodes; at most 10000 are read",
    ),
    "inputs without end": (
        changed(lambda c: find(c, 7).update(inputs=[slot("images", "IMAGE")] * 1001)),
        "node 7 has 1001 inputs",
    ),
    "a circle of reroutes": (changed(circle_of_reroutes), "goes in a circle"),
    "a circle of nodes": (
        changed(lambda c: c["links"].__setitem__(3, [4, 5, 0, 5, 3, "LATENT"])),
        r"node 5 \(KSampler\): its links go in a circle: 'Sampler' \(5\)",
    ),
    "a subgraph of itself": (nested("a", "a"), "contains itself"),
    "subgraphs that unfold": (nested(*"abcde", "Note"), "more than 10000 nodes"),
    "an output from nothing": (
        workflow(
            [node(1, "a")],
            [],
            definitions={"subgraphs": [subgraph("a", [], [[1, 5, 0, EXIT, 0, "*"]])]},
        ),
        "output number 0 has a link from nothing",
    ),
    "two subgraphs with one id": (
        workflow([], [], definitions={"subgraphs": [subgraph("a", [], [])] * 2}),
        "two subgraphs have the id a",
    ),
    "an input that a subgraph lacks": (
        workflow(
            [node(1, "a")],
            [],
            definitions={
                "subgraphs": [
                    subgraph(
                        "a",
                        [node(1, "SaveImage", [slot("images", "IMAGE", 1)])],
                        [[1, ENTRY, 3, 1, 0, "IMAGE"]],
                    )
                ]
            },
        ),
        "subgraph 'a' has no input number 3",
    ),
    "a name that nobody sets": (
        changed(
            lambda c: (
                c["nodes"].append(node(8, "GetNode", [], ("IMAGE",), ["the image"])),
                c["links"].__setitem__(8, [9, 8, 0, 7, 0, "IMAGE"]),
            )
        ),
        r"node 8 \(GetNode\): nothing sets 'the image'",
    ),
    "not a number": (
        changed(lambda c: find(c, 5)["widgets_values"].__setitem__(3, float("nan"))),
        r"node 5 \(KSampler\): its input 'cfg' is nan, which is no number",
    ),
    "half a letter": (
        changed(lambda c: find(c, 2).update(widgets_values=["\ud800"])),
        r"node 2 \(CLIPTextEncode\): its input 'text' is no valid text",
    ),
    "a model outside of its folder": (
        changed(
            lambda c: find(c, 1)["properties"].update(
                models=[{"name": "../../my-model.safetensors", "directory": "vae"}]
            )
        ),
        "would lie outside of the models folder",
    ),
    "an API node that is none": ({"1": {"class_type": "A", "inputs": {}}, "2": 5}, "'class_type'"),
    "an API link to nothing": (
        {"1": {"class_type": "SaveImage", "inputs": {"images": ["9", 0]}}},
        r"node 1 \(SaveImage\): its input 'images' is linked to nothing",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_workflow_is_refused_with_a_sentence_that_says_where(
    case: str, definitions: dict[str, Any]
) -> None:
    content, words = BROKEN[case]

    with pytest.raises(NotAMode, match=words):
        convert(read(data(content), "x.json"), definitions)


def test_every_reason_is_given_at_once(definitions: dict[str, Any]) -> None:
    content = drawing()
    content["nodes"] += [
        node(8, "ImageBlendPro", properties={"cnr_id": "blend-pack", "ver": "1.2.0"}),
        node(9, "KlingImageGenerationNode", properties={"cnr_id": "comfy-core", "ver": "0.40.1"}),
        node(10, "os.system", properties={}),
        node(11, "workflow>my group"),
    ]

    reasons = refused(content, definitions)

    assert [(each.node, each.class_) for each in reasons] == [
        ("8", "ImageBlendPro"),
        ("9", "KlingImageGenerationNode"),
        ("10", "os.system"),
        ("11", "workflow>my group"),
    ]
    pack, paid, unknown, group = (each.reason for each in reasons)
    assert "install the node pack blend-pack 1.2.0" in pack
    assert "paid service" in paid
    assert "custom node, or part of a newer ComfyUI" in unknown
    assert "0.40.1" in unknown
    assert "convert it to a subgraph" in group


def test_paid_and_custom_nodes_are_known_by_their_definitions_too(
    definitions: dict[str, Any],
) -> None:
    saver = definitions["SaveImage"]
    own = {**definitions, "Dream": {**saver, "api_node": True}}
    content = drawing()
    find(content, 7)["type"] = "Dream"
    assert "paid service" in str(refused(content, own)[0])

    own["Dream"] = {**saver, "python_module": "custom_nodes.dreams"}
    assert convert(read(data(content), "x.json"), own).packs == {"Dream": "dreams"}


@pytest.mark.parametrize(
    ("kind", "slots", "words"),
    [
        ("SaveVideo", [slot("video", "VIDEO")], "it makes a video"),
        ("SaveAnimatedWEBP", [slot("images", "IMAGE")], "it makes a video"),
        ("SaveAudio", [slot("audio", "AUDIO")], "it makes sound"),
        ("SaveGLB", [slot("mesh", "MESH")], "it makes a 3D model"),
        ("PreviewAny", [slot("source", "*")], "no node of it saves a picture"),
    ],
)
def test_a_workflow_without_a_picture_is_refused(
    kind: str, slots: list[Saved], words: str, definitions: dict[str, Any]
) -> None:
    content = drawing()
    content["nodes"].remove(find(content, 7))
    content["nodes"].append(node(8, kind, slots))

    (reason,) = refused(content, definitions)

    assert words in reason.reason


@pytest.mark.parametrize(("kind", "words"), [("LoadVideo", "a video"), ("LoadAudio", "sound")])
def test_a_workflow_that_needs_more_than_photos_is_refused(
    kind: str, words: str, definitions: dict[str, Any]
) -> None:
    content = changed(lambda c: c["nodes"].append(node(8, kind)))

    (reason,) = refused(content, definitions)

    assert reason == Reason("8", kind, f"it loads {words}; a mode takes photos only")


def test_a_preview_is_the_picture_only_where_nothing_is_saved(definitions: dict[str, Any]) -> None:
    content = drawing()
    find(content, 7)["type"] = "PreviewImage"
    assert "7" in convert(read(data(content), "x.json"), definitions).graph

    content["nodes"].append(node(8, "SaveVideo", [slot("video", "VIDEO")]))
    assert "it makes a video" in str(refused(content, definitions)[0])


def test_what_a_stranger_wrote_stays_on_one_line(definitions: dict[str, Any]) -> None:
    content = drawing()
    find(content, 7)["type"] = "A\n\x1b[31m" + "B" * 1000

    (reason,) = refused(content, definitions)

    assert str(reason).isprintable()
    assert len(reason.class_) == 80
