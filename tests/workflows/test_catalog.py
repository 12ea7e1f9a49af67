"""A mode is a folder; loading turns a mistake in it into one clear sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workflows as package
from tests.services import SHIPPED_MODES
from tests.workflows.drawing import by_title, draw
from workflows import catalog as workflows
from workflows.catalog import OwnCheckpoint
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


def faults_in(folder: Path) -> list[str]:
    """Return the faults of a mode, whether it can still be served or not."""
    try:
        return list(workflows.load_mode(folder).faults)
    except CatalogError as error:
        return list(error.faults)


def node(graph: dict[str, Any], title: str) -> dict[str, Any]:
    match: dict[str, Any] = next(n for n in graph.values() if n["_meta"]["title"] == title)
    return match


def test_a_new_mode_is_a_new_folder_and_no_python(folder: Path) -> None:
    edit_toml(folder, 'default_style = "realism"', 'default_style = "anime"')
    edit_toml(folder, "order = 1", "order = 5")
    edit_toml(folder, "{prompt}, masterpiece", "{prompt}, poster")
    catalog = workflows.load(folder.parent)
    assert list(catalog.modes) == [*SHIPPED_MODES, "poster"]
    graph = draw(catalog, "poster", {"prompt": "a fox"}).graph
    assert by_title(graph)["Prompt.text"].startswith("a fox, poster")
    assert by_title(graph)["Checkpoint.ckpt_name"] == "animagine-xl-4.0-opt.safetensors"


def test_modes_come_in_their_own_order(folder: Path) -> None:
    edit_toml(folder, "order = 1", "order = 0")
    assert next(iter(workflows.load(folder.parent))).name == "poster"


def test_of_two_folders_of_one_name_the_first_is_served(folder: Path) -> None:
    folder.rename(folder.parent / "free")
    catalog = workflows.load(folder.parent)
    assert list(catalog.modes) == SHIPPED_MODES
    (fault,) = catalog.broken[f"{folder.parent.name}/free"]
    assert "the mode 'free' exists twice" in fault


def test_a_missing_folder_of_modes_leaves_the_others(tmp_path: Path) -> None:
    catalog = workflows.load(tmp_path / "nowhere")
    assert list(catalog.modes) == SHIPPED_MODES
    assert "No such file" in catalog.broken["nowhere"][0]


def test_a_broken_mode_is_left_out_with_every_fault(folder: Path) -> None:
    edit_toml(folder, 'shift = "Shift.shift"', 'shift = "Shft.shift"')
    edit_graph(folder, lambda graph: node(graph, "Sampler")["inputs"].pop("cfg"), "sdxl.json")
    catalog = workflows.load(folder.parent)
    assert list(catalog.modes) == SHIPPED_MODES
    assert len(catalog.broken["poster"]) == 2


def test_a_faulty_style_is_left_out_alone(folder: Path) -> None:
    edit_toml(folder, "[styles.anime]\n", '[styles.anime]\ncolour = "red"\n')
    edit_toml(folder, "[styles.lux]\n", "[styles.lux]\ntimeout_s = -1\n")
    catalog = workflows.load(folder.parent)
    poster = catalog.modes["poster"]
    assert list(poster.styles) == ["realism", "chatgpt"]
    assert catalog.out_of_service().keys() == {"poster:anime", "poster:lux"}
    assert "styles.anime.colour" in catalog.out_of_service()["poster:anime"]
    assert draw(catalog, "poster", {"style": "chatgpt"}).outputs


def test_a_faulty_graph_takes_out_the_styles_that_use_it(folder: Path) -> None:
    (folder / "sdxl.json").write_text("{")
    catalog = workflows.load(folder.parent)
    assert list(catalog.modes["poster"].styles) == ["realism", "lux", "chatgpt"]
    assert "poster/sdxl.json" in catalog.out_of_service()["poster:anime"]


def test_a_faulty_default_style_takes_its_mode_out(folder: Path) -> None:
    edit_toml(folder, 'default_style = "realism"', 'default_style = "anime"')
    (folder / "sdxl.json").write_text("{")
    assert "poster" in workflows.load(folder.parent).broken


def test_a_faulty_graph_that_no_style_uses_takes_nothing_out(folder: Path) -> None:
    (folder / "plain.json").write_text("{")
    poster = workflows.load(folder.parent).modes["poster"]
    assert len(poster.styles) == 4
    assert any("poster/plain.json" in fault for fault in poster.faults)


def test_with_ones_own_checkpoint_only_the_plain_graph_counts(folder: Path) -> None:
    own = OwnCheckpoint("mine.safetensors")
    for name in ("sdxl.json", "z_image.json"):
        (folder / name).write_text("{")
    catalog = workflows.load(folder.parent, own=own)
    assert len(catalog.modes["poster"].styles) == 4
    assert draw(catalog, "poster", {"style": "anime"}).outputs
    (folder / "plain.json").write_text("{")
    catalog = workflows.load(folder.parent, own=own)
    assert len(catalog.broken["poster"]) == 3
    assert list(catalog.modes) == SHIPPED_MODES


def test_no_fault_hides_another(folder: Path) -> None:
    edit_toml(folder, "order = 1", "ordre = 1")
    edit_toml(folder, 'type = "seed"', 'type = "integer"')
    edit_toml(folder, 'model = "z-image-turbo"', 'modle = "z-image-turbo"')
    edit_toml(folder, "[styles.lux]", "[styles.lux]\ntimeout_s = -1")
    edit_graph(folder, lambda graph: node(graph, "Sampler")["inputs"].pop("cfg"), "sdxl.json")
    (folder / "plain.json").write_text('{"version": 1}')
    faults = "\n".join(workflows.load(folder.parent).broken["poster"])
    for part in (
        *("ordre: ", "parameters.seed.type must be 'seed'", "graphs.z_image.modle: "),
        *("graphs.z_image.model: ", "styles.lux.timeout_s: ", "sdxl.json: ", "'version' is not"),
    ):
        assert faults.count(part) == 1, (part, faults)


def test_each_mode_says_where_it_comes_from_without_a_path(folder: Path) -> None:
    (folder.parent / "bad").mkdir()
    (folder.parent / "bad" / "mode.toml").write_text("order = ")
    catalog = workflows.load(folder.parent)
    assert catalog.sources == {
        **dict.fromkeys(SHIPPED_MODES, "shipped"),
        **dict.fromkeys(("poster", "bad"), "EASEL_WORKFLOWS_DIR"),
    }
    assert str(folder.parent) not in str(catalog.out_of_service())


def test_a_title_may_be_a_plain_text_for_every_language(folder: Path) -> None:
    edit_toml(folder, '[title]\nen = "Free generation"\nru = "Свободная генерация"\n', "")
    edit_toml(folder, "order = 1", 'order = 1\ntitle = "Poster"')
    spec = workflows.load(folder.parent).modes["poster"].spec
    assert (spec.title.en, spec.title.ru) == ("Poster", "Poster")


def test_a_binding_finds_titles_and_inputs_with_dots(folder: Path) -> None:
    def rename(graph: dict[str, Any]) -> None:
        sampler = node(graph, "Sampler")
        sampler["_meta"]["title"] = "Sampler v1.5"
        sampler["inputs"]["model.cfg"] = sampler["inputs"].pop("cfg")

    edit_graph(folder, rename, "sdxl.json")
    text = (folder / "mode.toml").read_text("utf-8")
    before, start, rest = text.partition("[graphs.sdxl.bind]")
    rest, end, after = rest.partition("[graphs.plain")
    rest = rest.replace('"Sampler.cfg"', '"Sampler v1.5.model.cfg"')
    rest = rest.replace('"Sampler.', '"Sampler v1.5.')
    (folder / "mode.toml").write_text(before + start + rest + end + after, "utf-8")
    drawn = by_title(draw(workflows.load(folder.parent), "poster", {"style": "anime"}).graph)
    assert drawn["Sampler v1.5.model.cfg"] == 5.0
    assert drawn["Sampler v1.5.seed"] == 7


@pytest.mark.parametrize("name", ["mode.toml", "sdxl.json"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "cp1251"])
def test_a_file_in_another_encoding_is_told_to_be_saved_as_utf_8(
    folder: Path, name: str, encoding: str
) -> None:
    text = (folder / name).read_text("utf-8").replace('"Save"', '"Сохранить"')
    (folder / name).write_text(text, encoding)
    [fault] = faults_in(folder)
    assert fault.startswith(f"poster/{name}: ")
    assert "save it as UTF-8" in fault


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
    assert [key for key in drawn.graph if key.startswith("91")] == []


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
    ('seed = "Sampler.seed"\n', "", ["cannot draw several", "nothing is bound to 'seed'"]),
    ("multiple_of = 8\nunit", "multiple_of = 0\nunit", ["parameters.width.multiple_of"]),
    ("[1024, 1024]", "[1024, 8]", ["graphs.z_image.sizes.1:1.1"]),
]


@pytest.mark.parametrize(("old", "new", "named"), TOML_MISTAKES)
def test_a_mistake_in_mode_toml_is_reported_with_folder_file_and_key(
    folder: Path, old: str, new: str, named: list[str]
) -> None:
    edit_toml(folder, old, new)
    faults = faults_in(folder)
    assert all(fault.startswith("poster/") for fault in faults)
    sentence = "; ".join(faults)
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
        ["does not depend on 'Sampler.seed'"],
    ),
    ("exported for the editor", lambda graph: graph.update(nodes=[], links=[]), ["API format"]),
    (
        "a circle",
        lambda graph: node(graph, "Shift")["inputs"].update(model=["20", 0]),
        ["linked in a circle", "'Shift'", "'Sampler'"],
    ),
    (
        "the version of a workflow",
        lambda graph: graph.update(version=0.4),
        ["'version' is not a node; remove this key"],
    ),
    (
        "the extra data of a workflow",
        lambda graph: graph.update(extra={"ds": {}}),
        ["'extra' is not a node; remove this key"],
    ),
    (
        "a node without class",
        lambda graph: graph["22"].pop("class_type"),
        ["node '22'", "class_type"],
    ),
    (
        "a node that swaps faces",
        lambda graph: graph["22"].update(class_type="ReActorFaceSwap"),
        ["node 22 (ReActorFaceSwap)", "puts a person's face into another picture"],
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
    catalog = workflows.load(folder.parent, own=OwnCheckpoint("mine.safetensors"))
    own = by_title(draw(catalog, "poster", {"style": "anime"}).graph)
    assert own["Checkpoint.ckpt_name"] == "animagine-xl-4.0-opt.safetensors"
    plain = by_title(draw(catalog, "free", {"style": "anime"}).graph)
    assert plain["Checkpoint.ckpt_name"] == "mine.safetensors"
