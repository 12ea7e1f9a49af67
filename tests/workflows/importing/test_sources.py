"""Where a workflow is found, and what is said of files that have none."""

import io
import json
import struct
import zlib
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.workflows.importing.saved import data, drawing
from workflows.importing import NotAMode, read

API = {"1": {"class_type": "SaveImage", "inputs": {}}}


def png(**texts: Any) -> bytes:
    info, file = PngInfo(), io.BytesIO()
    for keyword, text in texts.items():
        info.add_text(keyword.rstrip("_"), text)
    Image.new("RGB", (8, 8)).save(file, "PNG", pnginfo=info)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind: bytes, body: bytes) -> bytes:
    image = png()
    return image[:33] + chunk(kind, body) + image[33:]


def webp(*texts: str) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    for tag, text in zip((0x010F, 0x0110), texts, strict=False):
        exif[tag] = text
    Image.new("RGB", (8, 8)).save(file, "WEBP", exif=exif)
    return file.getvalue()


def test_both_formats_are_told_apart_and_the_name_has_no_folder() -> None:
    ui = read(data(drawing()), "C:\\flows\\my flow.json")
    api = read(data(API), "/home/me/graph.json")

    assert (ui.name, ui.format) == ("my flow", "ui")
    assert (api.name, api.format, api.content) == ("graph", "api", API)
    assert read(data({"prompt": API, "client_id": "x"}), "body.json").content == API


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_every_unicode_encoding_is_read(encoding: str) -> None:
    assert read(json.dumps(API).encode(encoding), "x.json").content == API


@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt", b"iTXt packed"])
def test_every_text_chunk_of_a_png_is_read(kind: bytes) -> None:
    text = data(drawing())
    body = {
        b"tEXt": b"workflow\0" + text,
        b"zTXt": b"workflow\0\0" + zlib.compress(text),
        b"iTXt": b"workflow\0\0\0\0\0" + text,
        b"iTXt packed": b"workflow\0\1\0en\0\0" + zlib.compress(text),
    }[kind]

    assert read(with_chunk(kind[:4], body), "x.png").format == "ui"


def test_what_was_drawn_comes_before_what_was_shown() -> None:
    carried = png(workflow=json.dumps(drawing()), prompt=json.dumps(API))

    document = read(carried, "x.png")

    assert (document.format, document.content) == ("api", API)
    assert document.ui == drawing()


def test_a_broken_chunk_does_not_hide_a_whole_one() -> None:
    damaged = chunk(b"tEXt", b"prompt\0" + data(API))[:-1] + b"?"
    image = png(prompt="{not json", workflow=json.dumps(drawing()))
    carried = image[:33] + damaged + image[33:]

    assert read(carried, "x.png").format == "ui"
    assert read(image[:-20], "cut off.png").format == "ui"


def test_a_webp_carries_a_workflow_in_its_exif() -> None:
    document = read(
        webp("workflow:" + json.dumps(drawing()), "prompt:" + json.dumps(API)), "x.webp"
    )

    assert (document.format, document.ui) == ("api", drawing())


REFUSED = {
    "empty": (b" \n", "empty"),
    "no JSON": (b'{"nodes": [}', "not JSON.* line 1, column 12"),
    "cut off": (data(drawing())[:500], "not JSON.* column"),
    "no text": (b'{"a": "\xff\xfe"}', "byte 7 is no text"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "a list": (b"[1, 2]", "outermost value must be an object"),
    "another JSON": (b'{"name": "x", "dependencies": {}}', "it has name, dependencies"),
    "an endless number": (b'{"a": ' + b"9" * 10_000 + b"}", "thousands of digits"),
    "a JPEG": (b"\xff\xd8\xff\xe0", "this is a JPEG"),
    "a plain PNG": (png(), "carries no workflow"),
    "another program's PNG": (png(parameters="a fox, Steps: 20"), "its texts are parameters"),
    "a PNG of broken texts": (
        png(workflow="{", prompt="[]"),
        "'workflow': this is not JSON.*'prompt'",
    ),
    "a plain WebP": (webp(), "this WebP carries no workflow"),
    "a cut-off WebP": (webp("workflow:" + json.dumps(drawing()))[:400], "carries no workflow"),
    "a bomb": (with_chunk(b"zTXt", b"prompt\0\0" + zlib.compress(bytes(60 << 20))), "than 50 MB"),
    "a large file": (b" " * (51 << 20), "the file has 51 MB; at most 50"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_without_a_workflow_is_refused_with_a_sentence(case: str) -> None:
    content, words = REFUSED[case]

    with pytest.raises(NotAMode, match=words):
        read(content, "x.json")
