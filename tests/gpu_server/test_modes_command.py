"""`modes list` and `modes check` on modes of one's own, right and wrong ones."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

import workflows
from gpu_server import sketch
from gpu_server.comfy.object_info import recorded
from gpu_server.modes import __main__ as modes_command
from tests import services
from tests.services import free_port

FREE = Path(workflows.__file__).parent / "free"


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Prepare a pod without a running engine, with a folder of modes of its own: `poster`."""
    folder = tmp_path / "modes"
    shutil.copytree(FREE, folder / "poster")
    monkeypatch.setenv("EASEL_WORKFLOWS_DIR", str(folder))
    monkeypatch.setenv("COMFYUI_PORT", str(free_port()))
    for name in ("EASEL_CHECKPOINT", "COMFYUI_URL", "COMFYUI_CUSTOM_NODES"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with services.sketch_engine(tmp_path_factory.mktemp("engine")) as url:
        yield url


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Run a command with `--json` and return its exit code and its answer."""
    capsys.readouterr()
    code = modes_command.main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_right_modes_pass_without_any_engine(
    modes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = run(capsys, "check")
    assert (code, answer["ok"], answer["reasons"]) == (0, True, [])
    assert "recorded" in answer["checked_against"]
    code, answer = run(capsys, "list")
    rows = {row["mode"]: row for row in answer["modes"]}
    assert {name: row["from"] for name, row in rows.items()} == {
        **dict.fromkeys(services.SHIPPED_MODES, "shipped"),
        "poster": "EASEL_WORKFLOWS_DIR",
    }
    assert "no engine answers" in rows["poster"]["reason"]


def test_every_fault_of_every_mode_is_told_with_its_node(
    modes: Path, capsys: pytest.CaptureFixture[str], comfyui: str
) -> None:
    shutil.copytree(FREE, modes / "banner")
    for name in ("poster", "banner"):
        graph = modes / name / "sdxl.json"  # of a style that is not the default
        edit(graph, '"EmptyLatentImage"', '"EmptyLatentImag"')
        edit(graph, '"cfg": ', '"cfg": "much", "was_cfg": ')
    edit(modes / "banner" / "mode.toml", "order = 1", "ordre = 1")  # which takes the mode out
    edit(modes / "banner" / "mode.toml", 'cfg = "Sampler.cfg"', 'cfg = "Smpler.cfg"')
    for where in ((), ("--comfyui", comfyui)):
        code, answer = run(capsys, "check", *where)
        assert (code, answer["ok"]) == (4, False)
        found = {(r["mode"], r["class"], r["reason"].partition(": ")[0]) for r in answer["reasons"]}
        assert found >= {
            ("poster", "EmptyLatentImag", "poster/sdxl.json"),
            ("banner", "EmptyLatentImag", "banner/sdxl.json"),
            ("banner", "KSampler", "banner/sdxl.json"),  # as nothing is bound to it
            ("banner", None, "banner/mode.toml"),
            ("banner", None, "banner/sdxl.json"),
        }
        assert {mode for mode, _, _ in found} == {"poster", "banner"}
        assert len(answer["reasons"]) == len({r["reason"] for r in answer["reasons"]})
    code, answer = run(capsys, "check", "poster")
    assert (code, {r["mode"] for r in answer["reasons"]}) == (4, {"poster"})
    assert run(capsys, "check", "free")[0] == 0


def test_a_file_that_comfyui_lacks_is_no_fault_of_the_mode(
    modes: Path, capsys: pytest.CaptureFixture[str], comfyui: str
) -> None:
    edit(modes / "poster" / "sdxl.json", "animagine-xl-4.0-opt.safetensors", "mine.safetensors")
    code, answer = run(capsys, "check", "--comfyui", comfyui)
    assert (code, answer["missing_files"]) == (0, {"poster": ["mine.safetensors"]})


def test_the_list_says_why_a_style_or_a_mode_is_not_available(
    modes: Path,
    capsys: pytest.CaptureFixture[str],
    comfyui: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COMFYUI_URL", comfyui)
    edit(modes / "poster" / "mode.toml", "[styles.lux]", "[styles.lux]\ntimeout_s = -1")
    edit(modes / "poster" / "sdxl.json", "animagine-xl-4.0-opt.safetensors", "mine.safetensors")
    (modes / "notes").mkdir()
    (modes / "notes" / "graph.json").write_text("{}")
    code, answer = run(capsys, "list")
    rows = {row["mode"]: row for row in answer["modes"]}
    assert (code, rows["free"]["available"], rows["notes"]["available"]) == (0, True, False)
    assert "notes/mode.toml: No such file" in rows["notes"]["reason"]
    reasons = {style["style"]: style["reason"] for style in rows["poster"]["styles"]}
    assert (reasons["realism"], reasons["chatgpt"]) == (None, None)
    assert "models add" in reasons["anime"]
    assert "styles.lux.timeout_s" in reasons["lux"]
    assert str(modes) not in json.dumps(answer)


@pytest.mark.parametrize(
    ("body", "status"),
    [("hello", 200), ("[]", 200), ("{}", 200), ("{" * 100_000, 200), ("{}", 404), ("", 302)],
)
def test_what_is_no_comfyui_is_one_sentence(
    modes: Path, capsys: pytest.CaptureFixture[str], body: str, status: int
) -> None:
    async def say(_: Request) -> Response:
        return PlainTextResponse(body, status)

    with services.served(Starlette(routes=[Route("/object_info", say)])) as url:
        assert modes_command.main(["check", "--comfyui", url]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert url in error


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "ftp://host", "host", "http://", ""])
def test_an_address_without_a_comfyui_is_a_mistake_of_usage(
    modes: Path, capsys: pytest.CaptureFixture[str], url: str
) -> None:
    code, answer = run(capsys, "check", "--comfyui", url)
    assert (code, answer["ok"], len(answer["reasons"])) == (2, False, 1)


def test_a_name_that_no_mode_has_is_refused_with_those_there_are(
    modes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert modes_command.main(["check", "postr"]) == 2
    assert (
        "no mode postr; there are cutout, free, restyle, upscale, poster" in capsys.readouterr().err
    )


def test_an_engine_without_models_is_checked_as_it_is(
    modes: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with services.served(sketch.create_app(tmp_path / "bare", {})) as url:
        code, answer = run(capsys, "check", "--comfyui", url)
    assert (code, set(answer["missing_files"])) == (0, {*services.SHIPPED_MODES, "poster"})


def put_before_the_picture(graph: Path, node_class: str) -> None:
    """Let the picture go through a node of this class, as many packs have one."""
    nodes = json.loads(graph.read_text("utf-8"))
    inputs = next(n for n in nodes.values() if n["class_type"] == "SaveImage")["inputs"]
    nodes[node_class] = {"class_type": node_class, "inputs": {"image": inputs["images"]}}
    inputs["images"] = [node_class, 0]
    graph.write_text(json.dumps(nodes), "utf-8")


def test_a_node_of_a_pack_is_refused_by_name_until_the_setting_names_the_pack(
    modes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def definitions(_: Request) -> Response:
        known = recorded()
        own = {"FilterImage": {**known["ImageInvert"], "python_module": "custom_nodes.filters"}}
        return JSONResponse({**known, **own})

    graph = modes / "poster" / "sdxl.json"
    put_before_the_picture(graph, "FilterImage")
    with services.served(Starlette(routes=[Route("/object_info", definitions)])) as url:
        code, answer = run(capsys, "check", "poster", "--comfyui", url)
        assert (code, {fault["class"] for fault in answer["reasons"]}) == (4, {"FilterImage"})
        assert "the node pack 'filters'" in answer["reasons"][0]["reason"]
        monkeypatch.setenv("COMFYUI_CUSTOM_NODES", "other, filters")
        assert run(capsys, "check", "poster", "--comfyui", url)[0] == 0
        put_before_the_picture(graph, "ShowAnything")  # of a pack that it has not
        code, answer = run(capsys, "check", "poster", "--comfyui", url)
    [reason] = [f["reason"] for f in answer["reasons"] if f["class"] == "ShowAnything"]
    assert (code, "COMFYUI_CUSTOM_NODES" in reason) == (4, True)


@pytest.mark.parametrize("names", ["../secrets", "/opt/pack", "--listen", "a b", ".hidden", "a/b"])
def test_a_pack_is_named_by_its_folder_and_by_nothing_else(
    modes: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    names: str,
) -> None:
    monkeypatch.setenv("COMFYUI_CUSTOM_NODES", f"good_pack,{names}")
    with pytest.raises(SystemExit, match="2"):
        modes_command.main(["list"])
    error = capsys.readouterr().err
    assert error.startswith(f"error: COMFYUI_CUSTOM_NODES: '{names}' is no name of a folder")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("least", "version", "is_told"),
    [
        ("0.3.40", "0.3.9", True),
        ("0.28", "0.3.64", True),
        ("0.3.40", "v0.3.40", False),
        ("0.38", "0.38.0-dev", False),
        ("0.38", "0.38.1", False),
        ("1.0", "unknown", False),
    ],
)
def test_a_comfyui_too_old_for_a_mode_is_told_and_its_styles_are_unavailable(
    modes: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    least: str,
    version: str,
    is_told: bool,
) -> None:
    async def definitions(_: Request) -> Response:
        return JSONResponse(recorded())

    async def stats(_: Request) -> Response:
        return JSONResponse({"system": {"comfyui_version": version}})

    edit(modes / "poster" / "mode.toml", "order = 1", f'least_comfyui = "{least}"\norder = 1')
    routes = [Route("/object_info", definitions), Route("/system_stats", stats)]
    with services.served(Starlette(routes=routes)) as url:
        monkeypatch.setenv("COMFYUI_URL", url)
        code, answer = run(capsys, "check")
        assert (code, "poster" in answer["too_old"]) == (0, is_told)
        rows = {row["mode"]: row for row in run(capsys, "list")[1]["modes"]}
    sentence = f"it needs ComfyUI {least} or newer, and this one is {version}"
    assert (sentence in rows["poster"]["reason"]) == is_told
    assert sentence not in rows["free"]["reason"]


def test_what_is_no_version_is_a_fault_of_the_mode(
    modes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(modes / "poster" / "mode.toml", "order = 1", 'least_comfyui = "newest"\norder = 1')
    code, answer = run(capsys, "check")
    assert code == 4
    assert "least_comfyui: must be a version of ComfyUI" in answer["reasons"][0]["reason"]


def test_a_style_that_can_be_read_but_never_drawn_is_a_fault(
    modes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    services.add_undrawable_mode(modes / "unfit")
    code, answer = run(capsys, "check", "unfit")
    assert code == 4
    assert "without the photos that may be left out" in answer["reasons"][0]["reason"]
