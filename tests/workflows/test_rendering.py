"""Values land in their graphs where the mode says, and nowhere else."""

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.workflows.drawing import EVERY_STYLE, FROM_WORDS, OWN, PLAIN, by_title, changes, draw
from workflows import catalog as workflows
from workflows.catalog import Catalog, Mode, OwnCheckpoint
from workflows.graph import Graph
from workflows.parameters import Request, check
from workflows.render import RenderError, render, size_of

TWO_VALUES: dict[str, tuple[Any, Any]] = {
    "prompt": ("a red fox", "a blue bird"),
    "negative_prompt": ("hail", "snow"),
    "seed": (1, 2),
    "width": (768, 1024),
    "height": (768, 1024),
    "strength": (0.2, 0.8),
    "scale": (2, 3),
    "image": ("easel/job/photo.png", "easel/other/photo.png"),
}


def drawn_with(catalog: Catalog, mode: str, style: str, name: str, value: Any) -> Graph:
    values: dict[str, Any] = {"style": style, "width": 512, "height": 512}
    if name == "image":
        return draw(catalog, mode, values, photo=value).graph
    return draw(catalog, mode, {**values, name: value}).graph


@pytest.mark.parametrize(("catalog", "mode", "style"), EVERY_STYLE)
def test_every_parameter_lands_in_its_one_input_or_is_declared_as_ignored(
    catalog: Catalog, mode: str, style: str
) -> None:
    spec = catalog.modes[mode].graph_spec(style)
    for name in catalog.modes[mode].spec.parameters:
        if name == "count":
            continue  # tested with the fan-out below
        one, other = TWO_VALUES[name]
        before = drawn_with(catalog, mode, style, name, one)
        after = drawn_with(catalog, mode, style, name, other)
        changed = changes(before, after)
        if name in spec.ignores:
            assert changed == {}, name
            continue
        assert list(changed) == [*spec.targets(name)], name
        landed = changed[spec.targets(name)[0]]
        if name in ("prompt", "negative_prompt"):
            assert other in landed
            assert one not in landed
        elif name != "strength":
            assert landed == other


@pytest.mark.parametrize(("catalog", "mode", "style"), EVERY_STYLE)
def test_every_setting_of_a_style_lands_in_its_input(
    catalog: Catalog, mode: str, style: str
) -> None:
    chosen = catalog.modes[mode]
    landed = by_title(draw(catalog, mode, {"style": style}).graph)
    for name, value in chosen.settings(style).items():
        assert landed[chosen.graph_spec(style).targets(name)[0]] == value, name


@pytest.mark.parametrize(("catalog", "mode", "style"), EVERY_STYLE)
def test_a_graph_exported_again_under_other_ids_renders_to_the_same_graph(
    catalog: Catalog, mode: str, style: str
) -> None:
    renamed = with_other_ids(catalog.modes[mode])
    values = {"style": style, "count": 2, "negative_prompt": "rain", "width": 768, "height": 512}
    old = draw(catalog, mode, values)
    new = draw(Catalog({mode: renamed}), mode, values)
    assert not old.graph.keys() & new.graph.keys()
    assert new.seeds == old.seeds
    for one, other in zip(old.outputs, new.outputs, strict=True):
        assert comparable(upstream(old.graph, one)) == comparable(upstream(new.graph, other))


def with_other_ids(mode: Mode) -> Mode:
    """Renumber and reorder the mode's nodes, as another export from ComfyUI may."""
    graphs = {}
    for name, graph in mode.graphs.items():
        ids = {key: str(500 + number) for number, key in enumerate(graph)}
        nodes = [(ids[key], copy.deepcopy(node)) for key, node in graph.items()]
        for _, node in nodes:
            for entry, value in node["inputs"].items():
                if isinstance(value, list):
                    node["inputs"][entry] = [ids[value[0]], value[1]]
        random.Random(1).shuffle(nodes)
        graphs[name] = dict(nodes)
    return Mode(mode.name, mode.spec, graphs)


def upstream(graph: Graph, start: str) -> Graph:
    """Return the part of the graph that `start` depends on."""
    reached, new = {}, [start]
    while new:
        key = new.pop()
        reached[key] = graph[key]
        links = [v for v in graph[key]["inputs"].values() if isinstance(v, list)]
        new += [link[0] for link in links if link[0] not in reached]
    return reached


def comparable(graph: Graph) -> dict[str, Any]:
    """Return the graph's inputs, except those that depend on node ids."""
    return {
        name: value
        for name, value in by_title(graph).items()
        if not name.endswith(".filename_prefix")
    }


@pytest.mark.parametrize(("catalog", "mode", "style"), FROM_WORDS)
def test_image_k_of_a_count_is_the_graph_of_seed_plus_k_alone(
    catalog: Catalog, mode: str, style: str
) -> None:
    several = draw(catalog, mode, {"style": style, "seed": 40, "count": 4})
    assert several.seeds == (40, 41, 42, 43)
    assert len(several.outputs) == 4
    for output, seed in zip(several.outputs, several.seeds, strict=True):
        alone = draw(catalog, mode, {"style": style, "seed": seed})
        assert comparable(upstream(several.graph, output)) == comparable(alone.graph)


@pytest.mark.parametrize(("catalog", "mode", "style"), FROM_WORDS)
def test_several_images_share_models_and_prompts(catalog: Catalog, mode: str, style: str) -> None:
    several = draw(catalog, mode, {"style": style, "count": 8}).graph
    for kind in ("CLIPTextEncode", "CheckpointLoaderSimple", "UNETLoader", "LoadImage"):
        alone = draw(catalog, mode, {"style": style}).graph
        assert of_class(several, kind) == of_class(alone, kind)
    assert of_class(several, "KSampler") == 8


def of_class(graph: Graph, kind: str) -> int:
    return sum(node["class_type"] == kind for node in graph.values())


def test_no_two_images_are_saved_under_one_name() -> None:
    graph = draw(OWN, "free", {"count": 8}, prefix="easel/job-1").graph
    saves = [node for node in graph.values() if node["class_type"] == "SaveImage"]
    names = [node["inputs"]["filename_prefix"] for node in saves]
    assert len(set(names)) == 8
    assert all(name.startswith("easel/job-1/") for name in names)


def test_the_output_node_can_be_another_class() -> None:
    previews = draw(OWN, "free", {"count": 2}, output_class="PreviewImage")
    nodes = [previews.graph[key] for key in previews.outputs]
    assert [node["class_type"] for node in nodes] == ["PreviewImage", "PreviewImage"]
    assert [list(node["inputs"]) for node in nodes] == [["images"], ["images"]]
    assert of_class(previews.graph, "SaveImage") == 0
    with pytest.raises(RenderError, match="'VHS_Save' is not one of"):
        draw(OWN, "free", {}, output_class="VHS_Save")


@pytest.mark.parametrize("style", list(OWN.modes["free"].styles))
def test_each_style_adds_its_own_words_to_the_prompt(style: str) -> None:
    graphs = {
        name: by_title(draw(OWN, "free", {"style": name, "prompt": "a red fox"}).graph)
        for name in OWN.modes["free"].styles
    }
    text = graphs[style]["Prompt.text"]
    assert text.startswith("a red fox")
    assert len(text) > len("a red fox. ")
    assert all(graphs[other]["Prompt.text"] != text for other in graphs if other != style)


def test_restyling_draws_from_the_edges_of_the_photo_and_from_an_empty_latent() -> None:
    for mode in (OWN.modes["restyle"], PLAIN.modes["restyle"]):
        for style in mode.styles:
            graph = draw(Catalog({"restyle": mode}), "restyle", {"style": style}).graph
            sampler = next(n for n in graph.values() if n["class_type"] == "KSampler")
            latent = graph[sampler["inputs"]["latent_image"][0]]
            assert latent["class_type"].startswith("Empty")
            edges = next(n for n in graph.values() if n["class_type"] == "Canny")
            assert graph[edges["inputs"]["image"][0]]["class_type"] == "LoadImage"
            assert sampler["inputs"]["denoise"] == 1.0


def test_strength_is_scaled_to_the_range_of_the_style() -> None:
    for style, (low, high) in {"realism": (0.3, 0.95), "anime": (0.25, 0.95)}.items():
        landed = [
            by_title(draw(OWN, "restyle", {"style": style, "strength": strength}).graph)[
                "Structure.strength"
            ]
            for strength in (0, 0.5, 1)
        ]
        assert landed == pytest.approx([low, (low + high) / 2, high], abs=1e-3)


def test_a_restyle_without_a_prompt_still_has_the_words_of_its_style() -> None:
    mode = OWN.modes["restyle"]
    request = check(OWN, "restyle", {"image": True, "prompt": "", "seed": 1})
    graph = render(
        mode, request, size=size_of(mode, request), prefix="p", photos={"image": "x.png"}
    ).graph
    assert by_title(graph)["Prompt.text"].startswith("A natural photograph")


def test_braces_in_a_prompt_are_left_alone() -> None:
    graph = draw(OWN, "free", {"style": "anime", "prompt": "{prompt} {negative_prompt} {x}"}).graph
    assert by_title(graph)["Prompt.text"].startswith("{prompt} {negative_prompt} {x}, masterpiece")


def test_a_mode_that_takes_an_image_needs_one() -> None:
    mode = OWN.modes["restyle"]
    request = check(OWN, "restyle", {"image": True})
    with pytest.raises(RenderError, match="needs the photo 'image'"):
        render(mode, request, size=(512, 512), prefix="p")


def test_a_value_that_nothing_takes_is_refused() -> None:
    request = Request(mode="free", style="realism", prompt="a", seed=1, colour="red")
    with pytest.raises(RenderError, match="nothing in the graph takes 'colour'"):
        render(OWN.modes["free"], request, size=(512, 512), prefix="p")


def test_rendering_never_changes_the_catalogue() -> None:
    fresh = workflows.load()
    graphs = copy.deepcopy({mode.name: mode.graphs for mode in fresh})
    for mode in fresh:
        for style in mode.styles:
            first = draw(fresh, mode.name, {"style": style, "count": 2})
            for node in first.graph.values():
                node["inputs"].clear()
                node["_meta"].clear()
    assert {mode.name: mode.graphs for mode in fresh} == graphs


def test_the_default_size_is_the_first_of_the_style() -> None:
    for catalog in (OWN, PLAIN):
        for mode in catalog:
            for style in mode.styles:
                request = Request(mode=mode.name, style=style)
                assert size_of(mode, request) == mode.graph_spec(style).sizes.get("1:1")


def test_a_requested_size_wins_over_the_photo() -> None:
    request = Request(mode="restyle", style="anime", width=640, height=512)
    assert size_of(OWN.modes["restyle"], request, (4000, 3000)) == (640, 512)


@given(width=st.integers(16, 20_000), height=st.integers(16, 20_000))
def test_a_photo_keeps_its_proportions_at_the_models_pixel_count(width: int, height: int) -> None:
    mode = OWN.modes["restyle"]
    for style in mode.styles:
        spec = mode.graph_spec(style)
        drawn = size_of(mode, Request(mode="restyle", style=style), (width, height))
        assert drawn is not None
        own = spec.sizes["1:1"][0] * spec.sizes["1:1"][1]
        assert all(side % spec.multiple_of == 0 for side in drawn)
        assert drawn[0] * drawn[1] == pytest.approx(own, rel=0.05)
        ratio = min(max(width / height, 0.4), 2.5)
        assert drawn[0] / drawn[1] == pytest.approx(ratio, rel=0.05)


def test_one_checkpoint_serves_every_style_at_its_own_resolution() -> None:
    small = workflows.load(own=OwnCheckpoint("sd15.safetensors", "canny15.safetensors", base=512))
    served = [small.modes["free"], small.modes["restyle"]]
    for mode in served:
        for style in mode.styles:
            rendered = draw(small, mode.name, {"style": style})
            landed = by_title(rendered.graph)
            assert landed["Checkpoint.ckpt_name"] == "sd15.safetensors"
            assert (landed["Size.width"], landed["Size.height"]) == (512, 512)
            assert mode.graph_spec(style).model == "sd15.safetensors"
            for width, height in mode.graph_spec(style).sizes.values():
                assert width % 8 == 0
                assert height % 8 == 0
                assert width * height <= 512 * 512 * 1.05
    landed = by_title(draw(small, "restyle", {}).graph)
    assert landed["ControlNet.control_net_name"] == "canny15.safetensors"
    assert all(style.graph == "plain" for mode in served for style in mode.styles.values())
