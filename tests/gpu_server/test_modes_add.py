"""`modes add`: a workflow becomes a mode of one's own, or nothing is written."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import workflows
from gpu_server.comfy.object_info import recorded
from gpu_server.modes.__main__ import main
from tests import services
from tests.services import free_port
from workflows.catalog import load_mode

SHIPPED = Path(workflows.__file__).parent
GRAPH: dict[str, Any] = json.loads((SHIPPED / "free" / "sdxl.json").read_text("utf-8"))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Prepare a host without an engine, with a folder for modes that does not exist yet."""
    monkeypatch.setenv("EASEL_WORKFLOWS_DIR", str(tmp_path / "modes"))
    monkeypatch.setenv("EASEL_MODELS_FILE", str(tmp_path / "models.json"))
    monkeypatch.setenv("GPU_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("COMFYUI_PORT", str(free_port()))
    for name in ("EASEL_CHECKPOINT", "COMFYUI_URL", "COMFYUI_CUSTOM_NODES"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "models.json").write_text('{"schema": 1}')
    return tmp_path / "modes"


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    path = tmp_path / "My Wallpaper.json"
    path.write_text(json.dumps(GRAPH), "utf-8")
    return path


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.sketch_engine(tmp_path_factory.mktemp("engine")) as url:
        yield url


def add(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    """Run `modes add --json` and return its exit code and its answer."""
    capsys.readouterr()
    code = main(["add", *map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_workflow_becomes_a_mode_that_loads(
    own: Path, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = add(capsys, workflow, "--yes")
    assert (code, answer["ok"], answer["mode"]) == (0, True, "my_wallpaper")
    assert answer["bound"]["prompt"] == "Prompt.text"
    assert answer["files"][0]["id"] == "animagine-xl-4"
    assert answer["path"] == str(own / "my_wallpaper")
    assert names_in(own) == ["my_wallpaper"]
    mode = load_mode(own / "my_wallpaper")
    assert mode.spec.title.en == "My wallpaper"
    assert mode.graph_spec("standard").files == ("animagine-xl-4",)
    assert main(["check", "my_wallpaper"]) == 0


def test_the_workflow_in_a_picture_is_read_and_checked_against_an_engine(
    own: Path, tmp_path: Path, comfyui: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = PngInfo()
    told.add_text("prompt", json.dumps(GRAPH))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=told)
    arguments = ["add", str(tmp_path / "a.png"), "--name", "hills", "--comfyui", comfyui]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert f"Checked against the ComfyUI at {comfyui}" in out
    assert "negative_prompt    Negative prompt.text" in out
    assert "./startup.sh modes try hills" in out


def test_the_few_nodes_of_the_sketch_engine_are_in_no_workflows_way(
    own: Path, tmp_path: Path, comfyui: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    photo = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}
    inputs = {"image": ["1", 0], "upscale_method": "area", "scale_by": 2.0}
    larger = {"class_type": "ImageScaleBy", "inputs": inputs}
    saved = {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "a"}}
    (tmp_path / "larger.json").write_text(json.dumps({"1": photo, "2": larger, "3": saved}))
    monkeypatch.setenv("COMFYUI_PORT", comfyui.rpartition(":")[2])
    assert main(["add", str(tmp_path / "larger.json")]) == 0
    assert "recorded from ComfyUI" in capsys.readouterr().out


def test_a_gpu_too_small_and_a_comfyui_too_old_are_told(
    own: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def definitions(_: Request) -> Response:
        return JSONResponse(recorded())

    async def stats(_: Request) -> Response:
        gpu = {"type": "cuda", "vram_total": 4 * 10**9}
        cpu = {"type": "cpu", "vram_total": 10**12}
        return JSONResponse({"system": {"comfyui_version": "0.3.1"}, "devices": [cpu, gpu, 7]})

    templates = tmp_path / "comfyui_workflow_templates_json" / "templates"
    templates.mkdir(parents=True)
    (templates / "hills.json").write_text(json.dumps(GRAPH))
    entry = {"name": "hills", "minComfyUIVersion": "0.28"}
    (templates / "index.json").write_text(json.dumps([{"templates": [entry]}]))
    monkeypatch.syspath_prepend(tmp_path)
    routes = [Route("/object_info", definitions), Route("/system_stats", stats)]
    with services.served(Starlette(routes=routes)) as url:
        assert main(["add", "template:hills", "--comfyui", url]) == 0
    out = capsys.readouterr().out
    assert "The GPU has 4.0 GB" in out
    assert "it needs ComfyUI 0.28 or newer, and this one is 0.3.1" in out
    assert load_mode(own / "hills").spec.least_comfyui == "0.28"


def test_nothing_is_replaced_without_force(
    own: Path, workflow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert add(capsys, workflow, "--name", "mine")[0] == 0
    (own / "mine" / "note.txt").write_text("by hand")
    code, answer = add(capsys, workflow, "--name", "mine")
    assert code == 2
    assert "--force" in answer["reasons"][0]["reason"]
    assert (own / "mine" / "note.txt").exists()
    assert add(capsys, workflow, "--name", "mine", "--force")[0] == 0
    assert names_in(own / "mine") == ["graph.json", "mode.toml"]
    assert names_in(own) == ["mine"]


@pytest.mark.parametrize("name", ["free", "../x", "", "Ж", "a b", ".x", "a" * 41, "/tmp/x"])
def test_a_name_that_cannot_be_is_refused(
    own: Path, workflow: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    code, answer = add(capsys, workflow, "--name", name)
    assert (code, answer["ok"]) == (2, False)
    assert not own.exists()


def test_without_a_folder_it_says_what_to_set(
    own: Path, workflow: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EASEL_WORKFLOWS_DIR", "")
    code, answer = add(capsys, workflow)
    assert code == 2
    assert "EASEL_WORKFLOWS_DIR" in answer["reasons"][0]["reason"]
    assert add(capsys, workflow, "--into", own)[0] == 0


def changed(key: str, **inputs: Any) -> str:
    node = {**GRAPH[key], "inputs": {**GRAPH[key]["inputs"], **inputs}}
    return json.dumps({**GRAPH, key: node})


CHECKPOINT = next(k for k, n in GRAPH.items() if n["class_type"] == "CheckpointLoaderSimple")
SAMPLER = next(k for k, n in GRAPH.items() if n["class_type"] == "KSampler")


@pytest.mark.parametrize(
    ("content", "node_class"),
    [
        ("{", None),
        ("[" * 100_000, None),
        ("", None),
        ('{"1": {"class_type": "os.system", "inputs": {}}}', "os.system"),
        (changed(CHECKPOINT, ckpt_name="../../secret.safetensors"), "CheckpointLoaderSimple"),
        (changed(SAMPLER, sampler_name="best"), "KSampler"),
        (changed(SAMPLER, latent_image=[SAMPLER, 0]), "KSampler"),
    ],
    ids=["truncated", "deep", "empty", "python", "path", "choice", "circle"],
)
def test_what_cannot_become_a_mode_is_refused_and_nothing_written(
    own: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str,
    node_class: str | None,
) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    code, answer = add(capsys, path, "--yes")
    assert (code, answer["ok"]) == (4, False)
    assert answer["reasons"]
    if node_class:
        assert node_class in json.dumps(answer["reasons"])
    assert not own.exists()
    assert str(tmp_path) not in json.dumps(answer)


@pytest.mark.parametrize("source", ["none.json", "template:../../x", "template:none"])
def test_a_source_that_is_not_there_is_a_fault_of_usage(
    own: Path, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    code, answer = add(capsys, source)
    assert (code, answer["ok"], len(answer["reasons"])) == (2, False, 1)


def test_a_template_has_its_titles_in_every_language(
    own: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    templates = tmp_path / "comfyui_workflow_templates_json" / "templates"
    templates.mkdir(parents=True)
    (templates / "hills.json").write_text(json.dumps(GRAPH))
    for language, title in (("", "Hills"), (".ru", "Холмы"), (".zh-TW", "山丘")):
        entry = {"name": "hills", "title": title, "description": title, "size": 10**15}
        text = json.dumps([{"templates": [entry]}])
        (templates / f"index{language}.json").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["add", "template:hills"]) == 0
    assert "which is not enough" in capsys.readouterr().out
    named = load_mode(own / "hills").spec.title
    assert (named.en, named.ru) == ("Hills", "Холмы")
    assert named.model_dump()["zh-TW"] == "山丘"


def test_models_that_the_workflow_tells_of_are_listed_for_the_first_download(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "https://huggingface.co/a/b/resolve/main/mine.safetensors"
    model = {"name": "mine.safetensors", "url": url, "directory": "checkpoints"}
    graph = json.loads(changed(CHECKPOINT, ckpt_name="mine.safetensors"))
    ui = {"version": 0.4, "nodes": [], "links": [], "models": [model]}
    told = PngInfo()
    told.add_text("prompt", json.dumps(graph))
    told.add_text("workflow", json.dumps(ui))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png", pnginfo=told)
    code, answer = add(capsys, tmp_path / "a.png")
    assert code == 0
    assert answer["files"][0] | {"id": "mine", "new": True, "size": None} == answer["files"][0]
    listed = json.loads((tmp_path / "models.json").read_text())["files"]
    assert listed == [{"id": "mine", "dest": "checkpoints/mine.safetensors", "url": url}]
    assert load_mode(own / "a").graph_spec("standard").files == ("mine",)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_which_text_is_the_prompt(
    own: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = next(k for k, n in GRAPH.items() if n["_meta"]["title"] == "Prompt")
    graph = json.loads(changed(prompt, text=["join", 0]))
    graph["join"] = {
        "class_type": "StringConcatenate",
        "inputs": {"string_a": ["a", 0], "string_b": ["b", 0], "delimiter": " "},
    }
    for key, text in (("a", "a fox"), ("b", "in snow")):
        graph[key] = {"class_type": "PrimitiveStringMultiline", "inputs": {"value": text}}
    path = tmp_path / "two.json"
    path.write_text(json.dumps(graph))
    monkeypatch.setattr(sys, "stdin", Terminal("9\n2\n"))
    capsys.readouterr()
    assert main(["add", str(path), "--json"]) == 0
    shown = capsys.readouterr()
    assert "Which is the prompt?" in shown.err
    bound = json.loads(shown.out)["bound"]["prompt"]
    title, _, _ = bound.rpartition(".")
    nodes = load_mode(own / "two").graph("standard")
    assert [k for k, n in nodes.items() if n["_meta"]["title"] == title] == ["b"]
