"""What the styles of the catalogue need: which listed files, and which that no list names."""

import os
from collections.abc import Iterator
from pathlib import Path

from gpu_server.models.manifest import Manifest
from workflows.catalog import Catalog, Mode

_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


def with_needs(manifest: Manifest, catalog: Catalog) -> Manifest:
    """Add the catalogue's styles to what each file is needed by."""
    needs = [
        (id_, style, f"{style}:{mode.name}")
        for mode in catalog
        for style in mode.styles
        for id_ in mode.graph_spec(style).files
    ]
    files = []
    for file in manifest.files:
        further = [
            full
            for id_, style, full in needs
            if id_ == file.id and not {style, full} & set(file.needed_by)
        ]
        files.append(file.model_copy(update={"needed_by": (*file.needed_by, *further)}))
    return manifest.model_copy(update={"files": tuple(files)})


def unlisted(manifest: Manifest, catalog: Catalog, models_dir: Path) -> dict[str, list[str]]:
    """Return what styles need that is in no list and not on disk: name → `style:mode`."""
    ids = {file.id for file in manifest.files}
    names = {file.dest.partition("/")[2] for file in manifest.files}
    comfyui = Path(os.environ.get("COMFYUI_DIR") or "/workspace/ComfyUI")
    folders = [*models_dir.glob("*/"), *comfyui.glob("models/*/")]
    lacking: dict[str, list[str]] = {}
    for mode in catalog:
        for style in mode.styles:
            loaded = set(_loaded(mode, style)) - names
            absent = {name for name in loaded if not _is_in(folders, name)}
            unknown = set(mode.graph_spec(style).files) - ids
            if loaded and not absent:  # brought by hand, whatever the mode calls it
                unknown = set()
            for name in sorted(id_ for id_ in unknown if not _is_in(folders, id_)) or absent:
                lacking.setdefault(name, []).append(f"{style}:{mode.name}")
    return lacking


def _is_in(folders: list[Path], name: str) -> bool:
    return any(
        (folder / file).is_file() for folder in folders for file in (name, f"{name}.safetensors")
    )


def _loaded(mode: Mode, style: str) -> Iterator[str]:
    """Name the model files in the style's graph and settings."""
    spec = mode.graph_spec(style)
    bound = {target for value in spec.bind for target in spec.targets(value)}
    for node in mode.graph(style).values():
        title = node.get("_meta", {}).get("title", "")
        for entry, value in node["inputs"].items():
            if f"{title}.{entry}" not in bound and _is_model(value):
                yield value
    yield from (str(value) for value in mode.settings(style).values() if _is_model(value))


def _is_model(value: object) -> bool:
    return isinstance(value, str) and value.endswith(_SUFFIXES)
