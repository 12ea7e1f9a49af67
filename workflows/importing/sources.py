"""Find the workflow in a file's bytes: JSON, or an image that carries it."""

import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from workflows.importing.chunks import PNG, is_webp, texts_in_png, texts_in_webp
from workflows.importing.types import LARGEST_FILE, Document, NotAMode, refusal, short

_UI, _API = "workflow", "prompt"
_OTHERS = {
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"PK\x03\x04": "ZIP archive",
    b"%PDF": "PDF",
    b"\x1f\x8b": "gzip archive",
    b"\x1aE\xdf\xa3": "video",
}


def read(data: bytes, name: str) -> Document:
    """Find the workflow in a file. Raises NotAMode with what is wrong in it and where."""
    stem = PurePosixPath(name.replace("\\", "/")).stem or "workflow"
    if len(data) > LARGEST_FILE:
        raise refusal(
            f"the file has {len(data) >> 20} MB; at most {LARGEST_FILE >> 20} MB are read"
        )
    if not data.strip():
        raise refusal("the file is empty")
    if data.startswith(PNG):
        return _carried(stem, "PNG", texts_in_png(data))
    if is_webp(data):
        return _carried(stem, "WebP", texts_in_webp(data))
    for start, kind in _OTHERS.items():
        if data.startswith(start):
            raise refusal(f"this is a {kind}; use a JSON file, a PNG or a WebP of ComfyUI")
    return _document(stem, _parsed(data))


def _carried(stem: str, kind: str, texts: Iterable[tuple[str, bytes]]) -> Document:
    """Take what was sent to ComfyUI where the image has it, else what its front end showed."""
    found: dict[str, Document] = {}
    broken, others = [], []
    for keyword, text in texts:
        if keyword not in (_UI, _API):
            others.append(keyword)
            continue
        try:
            document = _document(stem, _parsed(text))
        except NotAMode as error:
            broken.append(f"'{keyword}': {error}")
        else:
            found.setdefault(document.format, document)
    if "api" in found:
        ui = found["ui"].content if "ui" in found else None
        return Document(stem, "api", found["api"].content, ui)
    if "ui" in found:
        return found["ui"]
    if broken:
        raise refusal(f"this {kind} carries a workflow that cannot be read: {'; '.join(broken)}")
    names = ", ".join(sorted({short(keyword) for keyword in others})[:8])
    has = f"; its texts are {names}" if names else ""
    raise refusal(
        f"this {kind} carries no workflow, or is cut off before it{has}; "
        "use the file as ComfyUI saved it: messengers and editors take the workflow out"
    )


def _parsed(data: bytes) -> Any:
    """Parse JSON in any Unicode encoding. Values that are no numbers are told where they matter."""
    try:
        return json.loads(data.decode(json.detect_encoding(data)).removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise refusal(f"byte {error.start} is no text; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise refusal(
            f"this is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise refusal("the JSON is nested too deeply") from error
    except ValueError as error:
        raise refusal("the JSON has a number with thousands of digits") from error


def _document(stem: str, content: Any) -> Document:
    if not isinstance(content, dict):
        raise refusal("this JSON is not a workflow: its outermost value must be an object")
    if isinstance(content.get("nodes"), list):
        return Document(stem, "ui", content)
    for key in (_API, _UI):  # the body of a POST to /prompt, or a file of both
        if isinstance(content.get(key), dict) and "class_type" not in content[key]:
            return _document(stem, content[key])
    if any(isinstance(node, dict) and "class_type" in node for node in content.values()):
        return Document(stem, "api", content)
    keys = ", ".join(short(key) for key in list(content)[:5]) or "no keys"
    raise refusal(
        f"this JSON is not a workflow: it has {keys}, "
        "but neither 'nodes' nor nodes with 'class_type'"
    )
