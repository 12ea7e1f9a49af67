"""Where a workflow comes from: a file, or one of ComfyUI's own templates by its name."""

import importlib.util
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_server.modes.definitions import NoDefinitions, fetch_json
from workflows.importing.types import LARGEST_FILE
from workflows.spec import COMFYUI_VERSION

TEMPLATE = "template:"
_PACKAGE = "comfyui_workflow_templates_json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_LANGUAGES = ("en", "ru", "zh", "zh-TW", "ja", "ko", "es", "fr", "ar", "tr", "pt-BR", "fa")
_LONGEST = 500
_ANY_VERSION = "0.0.1"
"""What the index says where no version is known."""


class NoSource(Exception):
    """There is no such file or template; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """A workflow's bytes, the name of its file, and what its template's index tells of it."""

    data: bytes
    name: str
    titles: dict[str, str] = field(default_factory=dict)
    descriptions: dict[str, str] = field(default_factory=dict)
    bytes_of_models: int = 0
    least_version: str = ""


def open_source(text: str, comfyui: str) -> Source:
    """Read a file, or a template by its name. Raises NoSource."""
    if text.startswith(TEMPLATE):
        return _template(text.removeprefix(TEMPLATE), comfyui)
    path = Path(text)
    try:
        with path.open("rb") as file:
            return Source(file.read(LARGEST_FILE + 1), path.name)
    except OSError as error:
        raise NoSource(f"{path.name or text}: {error.strerror or 'cannot be read'}") from error


def _template(name: str, comfyui: str) -> Source:
    if not _NAME.fullmatch(name):
        raise NoSource(f"{TEMPLATE}NAME takes letters, digits, '.', '_' and '-'")
    folder = _installed()
    data = _from_package(folder, name) if folder else _from_comfyui(comfyui, name)
    titles: dict[str, str] = {}
    descriptions: dict[str, str] = {}
    first: dict[str, Any] = {}
    for language in _LANGUAGES:
        suffix = "" if language == "en" else f".{language}"
        entry = _entry(_index(folder, comfyui, f"index{suffix}.json"), name)
        first = first or entry
        for texts, key in ((titles, "title"), (descriptions, "description")):
            if isinstance(value := entry.get(key), str) and value.strip():
                texts[language] = " ".join(value.split())[:_LONGEST]
        if not entry and language == "en":
            break
    size = first.get("size")
    return Source(
        data,
        f"{name}.json",
        titles,
        descriptions,
        size if isinstance(size, int) else 0,
        _version(first.get("minComfyUIVersion")),
    )


def _version(value: Any) -> str:
    is_told = isinstance(value, str) and value != _ANY_VERSION
    return value if is_told and COMFYUI_VERSION.fullmatch(value) else ""


def _installed() -> Path | None:
    """Return the folder of templates of the installed package, if there is one."""
    spec = importlib.util.find_spec(_PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "templates" if places else None


def _from_package(folder: Path, name: str) -> bytes:
    try:
        return (folder / f"{name}.json").read_bytes()
    except OSError as error:
        raise NoSource(f"{_PACKAGE} has no template {name}") from error


def _from_comfyui(comfyui: str, name: str) -> bytes:
    if not comfyui:
        raise NoSource(
            f"{TEMPLATE}{name} needs the templates: start ComfyUI, name one with --comfyui, or "
            "install comfyui-workflow-templates-json"
        )
    try:
        return json.dumps(fetch_json(comfyui, f"/templates/{name}.json")).encode()
    except NoDefinitions as error:
        raise NoSource(f"{TEMPLATE}{name}: {error}") from error


def _index(folder: Path | None, comfyui: str, file: str) -> Any:
    """Return an index of templates; nothing where there is none."""
    try:
        if folder:
            return json.loads((folder / file).read_bytes())
        return fetch_json(comfyui, f"/templates/{file}")
    except (OSError, ValueError, NoDefinitions):
        return []


def _entry(index: Any, name: str) -> dict[str, Any]:
    return next((entry for entry in _entries(index) if entry.get("name") == name), {})


def _entries(index: Any) -> Iterator[dict[str, Any]]:
    for group in index if isinstance(index, list) else []:
        templates = group.get("templates") if isinstance(group, dict) else None
        for entry in templates if isinstance(templates, list) else []:
            if isinstance(entry, dict):
                yield entry
