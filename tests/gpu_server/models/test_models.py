"""The manifest, the state of installed files, the format check, and the command line."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu_server.models.files import State, state_of, verify, write_record
from gpu_server.models.manifest import Manifest, ManifestError, ModelFile, load_manifest
from gpu_server.models.safetensors import DamagedModel, check_header
from tests.gpu_server.models import origin as turns
from tests.gpu_server.models.conftest import MODEL, safetensors
from tests.gpu_server.models.origin import Origin
from workflows import catalog

ROOT = Path(__file__).parents[3]


def manifest_of(*files: ModelFile) -> Manifest:
    entries = [file.model_dump() for file in files]
    profiles = {"starter": [file.id for file in files]}
    return Manifest.model_validate({"schema": 1, "profiles": profiles, "files": entries})


def test_every_style_of_the_catalogue_finds_its_files_in_the_manifest() -> None:
    manifest = load_manifest()
    modes = catalog.load(ROOT / "workflows" / "free", ROOT / "workflows" / "restyle")
    for mode in modes:
        for style in mode.styles:
            needed = set(mode.graph_spec(style).files)
            assert needed <= {file.id for file in manifest.select(style, "starter")}
            for file in manifest.files:
                is_listed = style in file.needed_by or f"{style}:{mode.name}" in file.needed_by
                assert is_listed == (file.id in needed), (file.id, mode.name, style)


def test_the_starter_profile_fits_a_small_volume() -> None:
    starter = load_manifest().select(profile="starter")
    assert sum(file.size for file in starter) < 45e9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dest": "vae/../../etc/x.safetensors"}, "dest"),
        ({"dest": "vae/model.ckpt"}, "dest"),
        ({"sha256": "abc"}, "sha256"),
        ({"size": 0}, "size"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_wrong_manifest_is_refused_and_the_field_named(
    tmp_path: Path, model: ModelFile, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "models.json"
    entry = model.model_dump() | change
    path.write_text(json.dumps({"schema": 1, "profiles": {}, "files": [entry]}))
    with pytest.raises(ManifestError, match=message):
        load_manifest(path)


def test_a_file_counts_as_installed_only_while_unchanged_since_verification(
    tmp_path: Path, model: ModelFile
) -> None:
    def state() -> State:
        return state_of(tmp_path, model)

    path = tmp_path / model.dest
    assert state() is State.MISSING
    path.parent.mkdir()
    path.write_bytes(MODEL[:-1])
    assert state() is State.WRONG_SIZE
    path.write_bytes(MODEL)
    assert state() is State.UNVERIFIED
    assert verify(tmp_path, model, lambda *_: None)
    assert state() is State.INSTALLED
    os.utime(path, ns=(1, 1))
    assert state() is State.UNVERIFIED
    write_record(path, model)
    path.write_bytes(MODEL[:-1] + b"?")
    os.utime(path, ns=(2, 2))
    assert not verify(tmp_path, model, lambda *_: None)
    assert state() is State.UNVERIFIED


TENSOR = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "header"),
        (b"\xff" * 8 + b"{}", "header would be"),
        ((10**9).to_bytes(8, "little") + b"{}", "header would be"),
        (safetensors([], b""), "not a table"),
        (b"\x02" + bytes(7) + b"xx", "not JSON"),
        (b"\x20\xa1\x07" + bytes(5) + b"[" * 500_000, "not JSON"),
        (safetensors({"a": TENSOR}, b"123"), "take 4 bytes, the file has 3"),
        (safetensors({"a": TENSOR}, b"12345"), "take 4 bytes, the file has 5"),
        (safetensors({"a": TENSOR, "b": TENSOR}, b"1234"), "begins at 0"),
        (safetensors({"a": TENSOR | {"shape": [5]}}, b"1234"), "does not fit its shape"),
        (safetensors({"a": TENSOR | {"data_offsets": [4, 0]}}, b"1234"), "impossible"),
        (safetensors({"a": TENSOR | {"data_offsets": [-4, 0]}}, b"1234"), "impossible"),
        (safetensors({"a": TENSOR | {"data_offsets": [0]}}, b"1234"), "described"),
        (safetensors({"a": 7}, b"1234"), "described"),
    ],
)
def test_a_damaged_model_is_recognised_by_its_header(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DamagedModel, match=message):
        check_header(path)


def models(tmp_path: Path, *argv: str) -> list[str]:
    place = ("--models-dir", str(tmp_path / "models"), "--manifest", str(tmp_path / "models.json"))
    return [sys.executable, "-m", "gpu_server.models", *argv, *place]


def run(tmp_path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        models(tmp_path, *argv), cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_commands_fetch_list_and_verify(
    tmp_path: Path, model: ModelFile, origin: Origin
) -> None:
    text = manifest_of(model).model_dump_json(by_alias=True)
    (tmp_path / "models.json").write_text(text)
    assert json.loads(run(tmp_path, "list", "--json").stdout)["models"][0]["state"] == "missing"
    assert run(tmp_path, "verify").returncode == 3
    pulled = run(tmp_path, "pull")
    assert (pulled.returncode, pulled.stdout) == (0, "Fetched: tiny.\n")
    assert "tiny 100 %" in pulled.stderr
    assert run(tmp_path, "pull").stdout == "Everything is already installed.\n"
    assert run(tmp_path, "verify").returncode == 0
    (tmp_path / "models" / model.dest).write_bytes(MODEL[:-1] + b"?")
    broken = run(tmp_path, "verify")
    assert broken.returncode == 3
    assert "wrong_hash" in broken.stdout
    unknown = run(tmp_path, "pull", "--profile", "tiny")
    assert unknown.returncode == 2
    assert unknown.stderr == "error: No profile 'tiny'; profiles: starter.\n"
    origin.turns = [turns.fail_with(404)]
    (tmp_path / "models" / model.dest).unlink()
    assert run(tmp_path, "pull").returncode == 1
    assert json.loads(run(tmp_path, "list", "--json").stdout)["models"][0]["state"] == "missing"


def test_an_unusable_directory_is_named_in_the_error(tmp_path: Path, model: ModelFile) -> None:
    (tmp_path / "models.json").write_text(manifest_of(model).model_dump_json(by_alias=True))
    (tmp_path / "models").touch()
    for command in ("pull", "list", "verify"):
        done = run(tmp_path, command)
        assert done.returncode != 0 or command == "list"
        assert "Traceback" not in done.stderr
    assert str(tmp_path / "models") in run(tmp_path, "pull").stderr


def test_ctrl_c_keeps_the_part(tmp_path: Path, model: ModelFile, origin: Origin) -> None:
    (tmp_path / "models.json").write_text(manifest_of(model).model_dump_json(by_alias=True))

    def stop_halfway(request: turns.Request) -> None:
        request.answer(200, MODEL[:2_000_000], ETag=origin.etag, Content_Length=str(len(MODEL)))
        part = tmp_path / "models" / f"{model.dest}.part"
        while part.stat().st_size < 2_000_000:
            pass
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)

    origin.turns = [stop_halfway]
    process = subprocess.Popen(
        models(tmp_path, "pull"), cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "again to resume" in err
    assert "Traceback" not in err
    assert run(tmp_path, "pull").returncode == 0
    assert origin.requests[-1]["range"] == "bytes=2000000-"
