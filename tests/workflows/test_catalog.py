"""A mode is a folder; loading turns a mistake in it into one clear sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workflows as package
from tests.workflows.drawing import by_title, draw
from workflows import catalog as workflows
from workflows.spec import CatalogError

FREE = Path(package.__file__).parent / "free"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Copy `free` under another name, for the tests to break."""
    return Path(shutil.copytree(FREE, tmp_path / "poster"))


def edit_toml(folder: Path, old: str, new: str) -> None:
    path = folder / "mode.toml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def edit_graph(folder: Path, change: Callable[[dict[str, Any]], object], name: str) -> None:
    path = folder / name
    graph = json.loads(path.read_text("utf-8"))
    change(graph)
    path.write_text(json.dumps(graph), "utf-8")


def node(graph: dict[str, Any], title: str) -> dict[str, Any]:
    match: dict[str, Any] = next(n for n in graph.values() if n["_meta"]["title"] == title)
    return match


def test_a_new_mode_is_a_new_folder_and_no_python(folder: Path) -> None:
    edit_toml(folder, 'default_style = "realism"', 'default_style = "anime"')
    edit_toml(folder, "order = 1", "order = 5")
    edit_toml(folder, "{prompt}, masterpiece", "{prompt}, poster")
    catalog = workflows.load(folder.parent)
    assert list(catalog.modes) == ["free", "restyle", "poster"]
    graph = draw(catalog, "poster", {"prompt": "a fox"}).graph
    assert by_title(graph)["Prompt.text"].startswith("a fox, poster")
    assert by_title(graph)["Checkpoint.ckpt_name"] == "animagine-xl-4.0-opt.safetensors"


def test_modes_come_in_their_own_order(folder: Path) -> None:
    edit_toml(folder, "order = 1", "order = 0")
    assert next(iter(workflows.load(folder.parent))).name == "poster"


def test_of_two_folders_of_one_name_the_first_is_served(folder: Path) -> None:
    folder.rename(folder.parent / "free")
    catalog = workflows.load(folder.parent)
    assert list(catalog.modes) == ["free", "restyle"]
    (fault,) = catalog.broken[f"{folder.parent.name}/free"]
    assert "the mode 'free' exists twice" in fault


def test_a_missing_folder_of_modes_leaves_the_others(tmp_path: Path) -> None:
    catalog = workflows.load(tmp_path / "nowhere")
    assert list(catalog.modes) == ["free", "restyle"]
    assert "No such file" in catalog.broken["nowhere"][0]


def test_a_broken_mode_is_left_out_with_every_fault(folder: Path) -> None:
    edit_toml(folder, 'shift = "Shift.shift"', 'shift = "Shft.shift"')
    edit_graph(folder, lambda graph: node(graph, "Sampler")["inputs"].pop("cfg"), "sdxl.json")
    catalog = workflows.load(folder.parent)
    assert list(catalog.modes) == ["free", "restyle"]
    assert len(catalog.broken["poster"]) == 2


def test_a_byte_order_mark_lists_of_lists_and_a_preview_are_legal(folder: Path) -> None:
    def add(graph: dict[str, Any]) -> None:
        inputs = {"points": [[0, 0], [1, 1]], "curves": [{"x": 1}, {"x": 2}]}
        graph["90"] = {"class_type": "Curve", "inputs": inputs, "_meta": {"title": "Curve"}}
        look = {"images": graph["22"]["inputs"]["images"]}
        graph["91"] = {"class_type": "PreviewImage", "inputs": look, "_meta": {"title": "Look"}}

    edit_graph(folder, add, "z_image.json")
    for name in ("z_image.json", "mode.toml"):
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (folder / name).read_bytes())
    catalog = workflows.load(folder.parent)
    drawn = draw(catalog, "poster", {"count": 2}, output_class="PreviewImage")
    assert drawn.outputs == ("22.0", "22.1")


def test_a_deeply_nested_graph_is_left_out(folder: Path) -> None:
    (folder / "z_image.json").write_text("[" * 100_000, "utf-8")
    assert "nested too deeply" in workflows.load(folder.parent).broken["poster"][0]


TOML_MISTAKES = [
    ("order = 1", "order = ", ["Invalid value"]),
    ("order = 1", "ordre = 1", ["ordre", "not permitted"]),
    ('default_style = "realism"', 'default_style = "noir"', ["default_style 'noir'"]),
    ('default_style = "realism"', "", ["default_style", "required"]),
    ('graph = "sdxl"', 'graph = "flux"', ["styles.anime.graph 'flux'"]),
    ('file = "sdxl.json"', 'file = "sdxl2.json"', ["sdxl2.json", "No such file"]),
    ('type = "seed"', 'type = "sead"', ["parameters.seed.type"]),
    ('type = "seed"', 'type = "integer"', ["parameters.seed.type must be 'seed'"]),
    (
        'title = { en = "Seed", ru = "Сид" }',
        'title = { ru = "Сид" }',
        ["parameters.seed.title.en"],
    ),
    ("default = 1\n", "default = 11\n", ["parameters.count", "the default is out of range"]),
    ('ignores = ["negative_prompt"]', "", ["'realism'", "nor ignores 'negative_prompt'"]),
    ("shift = 3.0 }", "shft = 3.0 }", ["'realism'", "sets 'shft', which is not bound"]),
    ('prompt = "{prompt}, masterpiece', 'prompt = "masterpiece', ["'anime'", "no {prompt}"]),
    (
        'negative_prompt = "{negative_prompt}, lowres',
        'negative_prompt = "lowres',
        ["'anime'", "no {negative_prompt}"],
    ),
    (
        'scheduler = "normal" }',
        'scheduler = "normal" }\nranges = { strength = [0, 1] }',
        ["'anime'", "'strength', which is not a parameter"],
    ),
    (
        'scheduler = "normal" }',
        'scheduler = "normal" }\nranges = { count = [0, 1] }',
        ["'anime'", "'count', which is not a number"],
    ),
    ('shift = "Shift.shift"', 'shift = "Shift.shfit"', ["z_image.json", "'Shift'", "'shfit'"]),
    ('shift = "Shift.shift"', 'shift = "Shft.shift"', ["z_image.json", "'Shft'", "'shift'"]),
    ('shift = "Shift.shift"', 'shift = "shift"', ["z_image.json", "'shift'"]),
    ('seed = "Sampler.seed"\n', "", ["z_image.json", "nothing is bound to 'seed'"]),
    ("multiple_of = 8\nunit", "multiple_of = 0\nunit", ["parameters.width.multiple_of"]),
    ("[1024, 1024]", "[1024, 8]", ["graphs.z_image.sizes.1:1.1"]),
]


@pytest.mark.parametrize(("old", "new", "named"), TOML_MISTAKES)
def test_a_mistake_in_mode_toml_is_reported_with_folder_file_and_key(
    folder: Path, old: str, new: str, named: list[str]
) -> None:
    edit_toml(folder, old, new)
    with pytest.raises(CatalogError) as refused:
        workflows.load_mode(folder)
    sentence = str(refused.value)
    assert sentence.startswith("poster/")
    assert "\n" not in sentence
    assert all(part in sentence for part in named), sentence


GRAPH_MISTAKES: list[tuple[str, Callable[[dict[str, Any]], object], list[str]]] = [
    (
        "title missing",
        lambda graph: node(graph, "Size")["_meta"].update(title="Canvas"),
        ["'width' is bound to 'Size.width'", "0 nodes have the title 'Size'"],
    ),
    (
        "no titles at all",
        lambda graph: [n.pop("_meta") for n in graph.values()],
        ["'prompt' is bound to 'Prompt.text'", "0 nodes"],
    ),
    (
        "title twice",
        lambda graph: node(graph, "VAE")["_meta"].update(title="Sampler"),
        ["Sampler.seed", "2 nodes have the title 'Sampler'"],
    ),
    (
        "input missing",
        lambda graph: node(graph, "Sampler")["inputs"].pop("cfg"),
        ["the node 'Sampler' has no input 'cfg'"],
    ),
    ("no output", lambda graph: graph.pop("22"), ["0 SaveImage nodes"]),
    (
        "two outputs",
        lambda graph: graph.update({"23": {**graph["22"], "_meta": {"title": "Save too"}}}),
        ["2 SaveImage nodes"],
    ),
    (
        "an output that the seed does not reach",
        lambda graph: graph["22"]["inputs"].update(images=["12", 0]),
        ["does not depend on the seed"],
    ),
    ("exported for the editor", lambda graph: graph.update(nodes=[], links=[]), ["API format"]),
    (
        "a node without class",
        lambda graph: graph["22"].pop("class_type"),
        ["node '22'", "class_type"],
    ),
    ("a node without inputs", lambda graph: graph["22"].pop("inputs"), ["node '22'", "inputs"]),
]


@pytest.mark.parametrize(
    ("change", "named"), [pytest.param(*rest, id=name) for name, *rest in GRAPH_MISTAKES]
)
def test_a_mistake_in_a_graph_is_reported_with_folder_file_and_key(
    folder: Path, change: Callable[[dict[str, Any]], object], named: list[str]
) -> None:
    edit_graph(folder, change, "z_image.json")
    with pytest.raises(CatalogError) as refused:
        workflows.load_mode(folder)
    sentence = str(refused.value)
    assert sentence.startswith("poster/z_image.json: ")
    assert all(part in sentence for part in named), sentence


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"1": 2}', b"\xff\xfe", b"{"])
@pytest.mark.parametrize("name", ["z_image.json", "mode.toml"])
def test_a_file_with_the_wrong_content_is_refused(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CatalogError, match=f"^poster/{name}: "):
        workflows.load_mode(folder)


def test_a_mode_without_a_plain_graph_keeps_its_own(folder: Path) -> None:
    text = (folder / "mode.toml").read_text("utf-8")
    start = text.index("# For owners of one checkpoint")
    text = text[:start] + text[text.index("[styles.realism]") :]
    (folder / "mode.toml").write_text(text, "utf-8")
    catalog = workflows.load(folder.parent).with_checkpoint("mine.safetensors")
    own = by_title(draw(catalog, "poster", {"style": "anime"}).graph)
    assert own["Checkpoint.ckpt_name"] == "animagine-xl-4.0-opt.safetensors"
    plain = by_title(draw(catalog, "free", {"style": "anime"}).graph)
    assert plain["Checkpoint.ckpt_name"] == "mine.safetensors"
