"""Node definitions: of a ComfyUI at an address, of this host's engine, or recorded ones."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from gpu_server.comfy.object_info import Definition, recorded
from web.settings import base_url

_CONNECT_S, _ANSWER_S = 5.0, 60.0
_MAX_BYTES = 64 * 2**20  # a ComfyUI with hundreds of node packs has some 20 MB
_RECORDED = "the definitions recorded from ComfyUI 0.33.0"


class NoDefinitions(Exception):
    """What answers at an address has no node definitions; the message is one sentence."""


@dataclass(frozen=True)
class Known:
    """Node definitions, where they come from, and why not from elsewhere."""

    definitions: Mapping[str, Definition]
    source: str
    is_engine: bool
    packs: Sequence[str] = ()
    """The node packs whose nodes a graph may have."""
    version: str = ""
    """The version of that ComfyUI; "" for the sketch engine."""
    gpu_bytes: int = 0
    """Memory of that ComfyUI's GPU; 0 where it tells of none."""
    note: str = ""
    url: str = ""
    """The address of the ComfyUI that answered."""
    is_sketch: bool = False
    """Whether they are the sketch engine's, which has few nodes."""


def of_engine(url: str, packs: Sequence[str]) -> Known:
    """Return what this host's engine says of its nodes, else what is recorded."""
    try:
        return _of(url, "engine", packs)
    except NoDefinitions as error:
        return Known(recorded(), _RECORDED, is_engine=False, packs=packs, note=str(error))


def to_import_with(url: str, packs: Sequence[str]) -> Known:
    """Return what `of_engine` does, but never the sketch engine's: it has few nodes."""
    known = of_engine(url, packs)
    if not known.is_sketch:
        return known
    note = "this host's engine draws sketches and has few nodes"
    return Known(recorded(), _RECORDED, is_engine=False, packs=packs, note=note)


def of_address(text: str, packs: Sequence[str]) -> Known:
    """Return the definitions of the ComfyUI at an address. Raises NoDefinitions or ValueError."""
    try:
        url = base_url(text, user=True)
    except ValueError as error:
        raise ValueError(f"--comfyui: {error}") from error
    if not url:
        raise ValueError("--comfyui: an address is missing, such as http://127.0.0.1:8188")
    return _of(url, "ComfyUI", packs)


def _of(url: str, kind: str, packs: Sequence[str]) -> Known:
    definitions, source, stats = _fetch(url), f"the {kind} at {_shown(url)}", _stats(url)
    return Known(
        definitions,
        source,
        is_engine=True,
        packs=packs,
        version=stats.version,
        gpu_bytes=stats.gpu_bytes,
        url=url,
        is_sketch=stats.is_sketch,
    )


@dataclass(frozen=True)
class _Stats:
    version: str = ""
    gpu_bytes: int = 0
    is_sketch: bool = False


def _stats(url: str) -> _Stats:
    """Fetch its version and its GPU's memory; nothing of what is no ComfyUI, or does not tell."""
    try:
        answer = fetch_json(url, "/system_stats")
    except NoDefinitions:
        return _Stats()
    system = answer.get("system") if isinstance(answer, dict) else None
    if not isinstance(system, dict) or "easel_engine" in system:
        return _Stats(is_sketch=isinstance(system, dict))
    devices = answer.get("devices")
    sizes = [
        device.get("vram_total")
        for device in (devices if isinstance(devices, list) else [])
        if isinstance(device, dict) and device.get("type") != "cpu"
    ]
    known = [size for size in sizes if isinstance(size, int)]
    return _Stats(str(system.get("comfyui_version") or ""), max(known, default=0))


def _shown(url: str) -> str:
    """Return an address without the user's name and the password in it."""
    return str(httpx.URL(url).copy_with(username=None, password=None))


def _fetch(url: str) -> dict[str, Definition]:
    definitions = fetch_json(url, "/object_info")
    if not isinstance(definitions, dict) or "SaveImage" not in definitions:
        raise NoDefinitions(f"what answers at {_shown(url)} is no ComfyUI")
    return definitions


def fetch_json(url: str, path: str) -> Any:
    """Fetch JSON from a ComfyUI within a limit of time and size. Raises NoDefinitions."""
    shown = _shown(url)
    body, end = bytearray(), time.monotonic() + _ANSWER_S
    timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
    try:
        with httpx.stream("GET", f"{url}{path}", timeout=timeout, trust_env=False) as answer:
            for part in answer.iter_bytes():
                body += part
                if len(body) > _MAX_BYTES or time.monotonic() > end:
                    raise NoDefinitions(f"the answer of {shown} does not end")
        answer.raise_for_status()
        return json.loads(body)
    except httpx.HTTPStatusError as error:
        status = f"{shown} answers {path} with {error.response.status_code}"
        raise NoDefinitions(f"{status}, as no ComfyUI does") from error
    except httpx.HTTPError as error:
        raise NoDefinitions(f"no answer from {shown}; is ComfyUI running there?") from error
    except (ValueError, RecursionError) as error:
        raise NoDefinitions(f"what answers at {shown} is no ComfyUI") from error
