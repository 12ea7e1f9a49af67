"""A person's own model files: their list, how one is added, and what styles lack."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpu_server.comfy import model_files
from gpu_server.models.add import Addition, AddRefused, add, file_address, safe_name
from gpu_server.models.download import Downloader
from gpu_server.models.manifest import ManifestError, ModelFile, load_manifest
from gpu_server.models.part import DownloadError
from tests.gpu_server.models import origin as turns
from tests.gpu_server.models.conftest import MODEL, described, safetensors
from tests.gpu_server.models.origin import Origin

ROOT = Path(__file__).parents[3]
OTHER = safetensors({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}, b"1234")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "own" / "models.json"


def listed(path: Path, *entries: dict[str, Any], bom: bytes = b"") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bom + json.dumps({"schema": 1, "files": entries}).encode())


def test_own_entries_go_over_those_of_easel(own: Path) -> None:
    ours = load_manifest().files[0]
    mine = described("http://127.0.0.1/a", MODEL, id="my-lora", dest="loras/my.safetensors")
    changed = ours.model_dump() | {"size": 7, "sha256": ours.sha256.upper()}
    listed(own, mine.model_dump(), changed, bom=b"\xef\xbb\xbf")
    manifest = load_manifest(own=own)
    assert manifest.select(ids=["my-lora"]) == [mine]
    assert manifest.select(ids=[ours.id]) == [ours.model_copy(update={"size": 7})]
    assert manifest.profiles == load_manifest().profiles


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, r"models\.json \(EASEL_MODELS_FILE\): entry 2 \(mine\): sha256: "),
        ({"id": 7}, r"entry 2: id: "),
        ({"colour": "red"}, r"entry 2 \(mine\): colour: "),
        ({"dest": "vae/ae.safetensors"}, r"vae/ae.safetensors is listed twice, here and in Easel"),
        ({"id": "tiny"}, "id tiny is listed twice"),
    ],
)
def test_an_error_in_the_own_list_names_entry_and_field(
    own: Path, change: dict[str, Any], message: str
) -> None:
    first = described("http://127.0.0.1/a", MODEL).model_dump()
    listed(own, first, first | {"id": "mine", "dest": "vae/mine.safetensors"} | change)
    with pytest.raises(ManifestError, match=message):
        load_manifest(own=own)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"files": 7}', b"\xff", b'{"files": [7]}'])
def test_any_content_of_the_own_list_is_answered_with_a_sentence(own: Path, content: bytes) -> None:
    own.parent.mkdir()
    own.write_bytes(content)
    with pytest.raises(ManifestError, match="EASEL_MODELS_FILE"):
        load_manifest(own=own)


@pytest.fixture
def bring(
    downloader: Callable[..., Downloader], origin: Origin, own: Path
) -> Callable[..., ModelFile]:
    def run(url: str = "/My%20LoRA.safetensors", **options: Any) -> ModelFile:
        chosen: dict[str, Any] = {"folder": "loras", "name": None, "id": None, "is_forced": False}
        chosen |= options
        return add(downloader(), Addition(url=origin.url + url, own=own, **chosen))

    return run


Bring = Callable[..., ModelFile]


def named(disposition: str) -> turns.Turn:
    return lambda request: request.answer(
        200, request.origin.content, ETag=request.origin.etag, Content_Disposition=disposition
    )


def test_an_added_file_is_fetched_listed_and_installed(
    bring: Bring, own: Path, tmp_path: Path, origin: Origin
) -> None:
    file = bring()
    assert (file.id, file.dest, file.size) == ("my-lora", "loras/My_LoRA.safetensors", len(MODEL))
    assert (tmp_path / "models" / file.dest).read_bytes() == MODEL
    assert load_manifest(own=own).select(ids=["my-lora"]) == [file]
    assert bring("/other", name="b.safetensors", id="b").id == "b"
    assert [entry["id"] for entry in json.loads(own.read_text())["files"]] == ["my-lora", "b"]
    assert {path.name for path in own.parent.iterdir()} == {"models.json"}
    before = len(origin.requests)
    assert bring().sha256 == file.sha256
    assert len(origin.requests) <= before + 2


def test_the_name_comes_from_the_server_and_can_do_no_harm(bring: Bring, origin: Origin) -> None:
    for disposition, dest in (
        ('attachment; filename="Style (v2).safetensors"', "loras/Style_v2.safetensors"),
        (
            "attachment; filename*=UTF-8''%2e%2e%2fd%C3%A9tail.SafeTensors",
            "loras/detail.safetensors",
        ),
        ('attachment; filename="..\\\\..\\\\evil.safetensors"', "loras/evil.safetensors"),
    ):
        origin.turns = [named(disposition)]
        assert bring("/api/download/models/7").dest == dest
    origin.turns = [named("inline")]
    assert bring("/api/download/models/7").dest == "loras/7.safetensors"
    assert len(safe_name("x" * 5000)) < 140
    with pytest.raises(AddRefused, match="choose one"):
        safe_name("../..")


def test_an_interrupted_addition_is_resumed(bring: Bring, origin: Origin) -> None:
    origin.turns = [turns.serve, turns.cut_after(1_000_000)]
    assert bring().size == len(MODEL)
    assert origin.requests[-1]["range"] == "bytes=1000000-"


def test_a_part_of_another_file_does_not_end_up_in_an_added_one(
    bring: Bring, tmp_path: Path
) -> None:
    part = tmp_path / "models" / "loras" / "My_LoRA.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"?" * 1000)
    assert (tmp_path / "models" / bring().dest).read_bytes() == MODEL


def test_other_content_under_the_same_name_is_kept_unless_forced(
    bring: Bring, origin: Origin, tmp_path: Path, own: Path
) -> None:
    path = tmp_path / "models" / bring().dest
    for content in (OTHER, MODEL[:-1] + b"?"):
        origin.content, origin.etag = content, '"two"'
        with pytest.raises(DownloadError, match="--force"):
            bring()
        assert path.read_bytes() == MODEL
        assert not path.with_name(f"{path.name}.part").exists()
    assert bring(is_forced=True).sha256 != described("http://x", MODEL).sha256
    assert path.read_bytes() == origin.content
    assert load_manifest(own=own).select(ids=["my-lora"])[0].size == len(origin.content)


def test_what_is_not_safetensors_is_refused_before_it_is_fetched(
    bring: Bring, origin: Origin, tmp_path: Path, own: Path
) -> None:
    origin.content = b"\x80\x04 a pickle that would run code"
    with pytest.raises(DownloadError, match="not safetensors"):
        bring()
    origin.content = b"\x08\0\0\0\0\0\0\0{}      " + b"rest that no tensor takes"
    with pytest.raises(DownloadError, match="not a valid safetensors file"):
        bring()
    assert not own.exists()
    assert not list((tmp_path / "models").rglob("*.safetensors"))


def test_a_place_or_id_that_another_file_has_is_refused(bring: Bring) -> None:
    bring()
    for options, message in (
        ({"name": "b.safetensors", "id": "my-lora"}, "is that of loras/My_LoRA"),
        ({"id": "second"}, "is listed as my-lora"),
        ({"id": "Bad Id", "name": "c.safetensors"}, "--id must be"),
        ({"name": "../c.safetensors"}, "--name must be"),
        ({"name": "c.ckpt"}, "--name must be"),
        ({"folder": "vae", "name": "ae.safetensors"}, "models pull flux1-vae"),
    ):
        with pytest.raises(AddRefused, match=message):
            bring(**options)


def test_an_address_of_a_page_becomes_that_of_the_file_or_is_explained() -> None:
    base = "https://huggingface.co/owner/name"
    assert (
        file_address(f"{base}/blob/main/a/b.safetensors?download=true")
        == f"{base}/resolve/main/a/b.safetensors"
    )
    for url, message in (
        (base, "resolve/main/FILE"),
        (f"{base}/tree/main", "resolve/main/FILE"),
        ("https://civitai.com/models/1/x?modelVersionId=42", "api/download/models/42"),
        ("https://civitai.com/models/1", "api/download/models/VERSION_ID"),
        ("https://civitai.com/api/download/models/1?token=abc", "CIVITAI_TOKEN"),
        ("https://me:abc@example.com/a.safetensors", "HF_TOKEN"),
        ("file:///etc/passwd", "https://"),
        ("a.safetensors", "https://"),
        ("https://[", "https://"),
    ):
        with pytest.raises(AddRefused, match=message) as refused:
            file_address(url)
        assert "abc" not in str(refused.value)


def run(tmp_path: Path, *argv: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "GPU_MODELS_DIR": str(tmp_path / "models"),
        "EASEL_DATA_DIR": str(tmp_path / "data"),
        "COMFYUI_DIR": str(tmp_path / "comfyui"),
    }
    return subprocess.run(
        [sys.executable, "-m", "gpu_server.models", *argv],
        cwd=ROOT,
        env=environment | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_commands_add_list_and_pull_an_own_model(
    tmp_path: Path, origin: Origin, own: Path
) -> None:
    settings = {"EASEL_MODELS_FILE": str(own), "HF_ENDPOINT": origin.url}
    page = "https://huggingface.co/o/r/blob/main/mine.safetensors"
    added = run(tmp_path, "add", page, "--to", "loras", **settings)
    assert (added.returncode, added.stdout[:16]) == (0, "Added mine: lora"), added.stderr
    assert origin.paths[0] == "/o/r/resolve/main/mine.safetensors"
    rows = json.loads(run(tmp_path, "list", "mine", "--json", **settings).stdout)["models"]
    assert [(row["id"], row["state"]) for row in rows] == [("mine", "installed")]
    (tmp_path / "models/loras/mine.safetensors").unlink()
    assert run(tmp_path, "pull", "mine", **settings).stdout == "Fetched: mine.\n"
    other = run(tmp_path, "add", page, "--to", "nowhere", **settings)
    assert other.returncode == 2
    assert "loras" in other.stderr
    missing = run(tmp_path, "list", EASEL_MODELS_FILE=str(tmp_path / "none.json"))
    assert missing.returncode == 2
    assert "none.json (EASEL_MODELS_FILE) cannot be read" in missing.stderr
    bad = run(tmp_path, "list", HF_ENDPOINT="mirror")
    assert (bad.returncode, bad.stderr.count("HF_ENDPOINT")) == (2, 1)


MODE = """
default_style = "calm"
title = { en = "Own", ru = "Own" }
description = { en = "Own.", ru = "Own." }
[parameters.prompt]
type = "text"
required = true
title = { en = "P", ru = "P" }
[parameters.seed]
type = "seed"
title = { en = "S", ru = "S" }
[graphs.sdxl]
file = "sdxl.json"
model = "own"
files = ["animagine-xl-4", "my-lora"]
multiple_of = 8
sizes = { "1:1" = [1024, 1024] }
[graphs.sdxl.bind]
prompt = "Prompt.text"
negative_prompt = "Negative prompt.text"
seed = "Sampler.seed"
width = "Size.width"
height = "Size.height"
[styles.calm]
title = { en = "Calm", ru = "Calm" }
description = { en = "Calm.", ru = "Calm." }
graph = "sdxl"
"""


@pytest.fixture
def own_mode(tmp_path: Path) -> Path:
    text = (ROOT / "docs" / "workflows.md").read_text("utf-8")
    folder = tmp_path / "modes" / "own"
    folder.mkdir(parents=True)
    (folder / "mode.toml").write_text(MODE)
    (folder / "sdxl.json").write_text(text.split("```json\n")[1].split("```")[0])
    return folder.parent


def test_a_file_of_a_style_that_is_in_no_list_and_not_on_disk_is_a_fault(
    tmp_path: Path, own_mode: Path, own: Path
) -> None:
    settings = {"EASEL_WORKFLOWS_DIR": str(own_mode)}
    shown = run(tmp_path, "list", **settings)
    assert "fault: my-lora, which calm:own needs, is in no list" in shown.stderr
    rows = json.loads(run(tmp_path, "list", "--json", **settings).stdout)["models"]
    assert [r["id"] for r in rows if r["state"] == "unlisted"] == ["my-lora"]
    assert "calm:own" in next(r["needed_by"] for r in rows if r["id"] == "animagine-xl-4")
    path = tmp_path / "models" / "loras" / "my-lora.safetensors"
    path.parent.mkdir(parents=True)
    path.touch()
    assert "fault" not in run(tmp_path, "list", **settings).stderr
    path.unlink()
    entry = described("http://127.0.0.1/a", MODEL, id="my-lora", dest="loras/l.safetensors")
    listed(own, entry.model_dump())
    known = run(tmp_path, "list", **settings, EASEL_MODELS_FILE=str(own))
    assert (known.returncode, known.stderr) == (0, "")


def test_the_gpu_server_knows_the_sizes_and_sources_of_own_models(own: Path) -> None:
    entry = described("http://127.0.0.1/a", MODEL, id="mine", dest="loras/mine.safetensors")
    listed(own, entry.model_dump())
    graph = {
        "1": {"class_type": "LoraLoaderModelOnly", "inputs": {"lora_name": "mine.safetensors"}}
    }
    assert "models add URL" in model_files.advice(["mine.safetensors"])
    try:
        model_files.know(load_manifest(own=own))
        assert model_files.largest_to_load(graph, "1", is_loaded=True) == len(MODEL)
        assert "models pull" in model_files.advice(["mine.safetensors"])
    finally:
        model_files.know(load_manifest())


def test_an_entry_of_unknown_content_is_pinned_at_its_first_download(
    tmp_path: Path, own: Path, origin: Origin
) -> None:
    entry = {"id": "mine", "dest": "loras/mine.safetensors", "url": f"{origin.url}/mine"}
    listed(own, entry)
    settings = {"EASEL_MODELS_FILE": str(own)}
    assert "missing" in run(tmp_path, "list", "mine", **settings).stdout
    pulled = run(tmp_path, "pull", "mine", **settings)
    assert pulled.returncode == 0, pulled.stderr
    pinned = json.loads(own.read_text())["files"][0]
    assert pinned["size"] == len(MODEL)
    assert f"SHA-256 {pinned['sha256']}" in pulled.stderr
    assert "installed" in run(tmp_path, "list", "mine", **settings).stdout


def test_a_first_download_must_have_the_hash_that_the_workflow_told(
    tmp_path: Path, own: Path, origin: Origin
) -> None:
    entry = {"id": "mine", "dest": "loras/mine.safetensors", "url": f"{origin.url}/mine"}
    listed(own, entry | {"sha256": "0" * 64})
    before = own.read_text()
    pulled = run(tmp_path, "pull", "mine", EASEL_MODELS_FILE=str(own))
    assert pulled.returncode == 1, pulled.stdout
    assert own.read_text() == before
    assert not (tmp_path / "models" / "loras" / "mine.safetensors").exists()
