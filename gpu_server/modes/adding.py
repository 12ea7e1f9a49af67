"""Make a mode of a workflow: read, convert, propose, check, and only then write its folder."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpu_server.comfy.styles import too_old
from gpu_server.models.add import list_files
from gpu_server.models.manifest import ManifestError, load_manifest
from gpu_server.modes.checking import faults_of
from gpu_server.modes.definitions import Known
from gpu_server.modes.model_entries import Needed, needed
from gpu_server.modes.sources import Source
from workflows.catalog import Catalog, Mode, read_mode
from workflows.importing import NotAMode, Reason, convert, read
from workflows.proposing import Choose, Proposal, mode_toml, propose
from workflows.proposing.writing import GRAPH_FILE
from workflows.spec import CatalogError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_OURS = "comfyui_nodes"


class Unusable(Exception):
    """The command cannot be followed as it was given; the message is one sentence."""


@dataclass(frozen=True)
class Target:
    """Where the mode goes, and where entries of its model files."""

    folder: Path
    name: str | None
    is_forced: bool
    own_models: Path


@dataclass(frozen=True)
class Added:
    """A mode that is in place."""

    name: str
    path: Path
    proposal: Proposal
    files: list[Needed]
    packs: dict[str, str]
    notes: list[str]


def add(source: Source, known: Known, catalog: Catalog, target: Target, choose: Choose) -> Added:
    """Add a mode. Raises NotAMode or Unusable; nothing is written then."""
    document = read(source.data, source.name)
    name = _name(target, document.name, catalog)
    imported = convert(document, known.definitions)
    proposal = propose(imported, known.definitions, choose)
    try:
        manifest = load_manifest(own=target.own_models if target.own_models.exists() else None)
        files = needed(proposal.files, imported, manifest)
        with _prepared(target.folder) as room:
            place = room / name
            _write(place, name, source, proposal, files)
            mode = _require_right(place, known)
            list_files(target.own_models, [f.entry for f in files if f.entry and f.is_new])
            _put_in_place(place, target.folder / name, room)
    except ManifestError as error:
        raise Unusable(str(error)) from error
    except OSError as error:
        raise Unusable(f"the mode cannot be written: {error.strerror}") from error
    notes = [f"its template: {old}"] if (old := too_old(mode, known.version)) else []
    return Added(name, target.folder / name, proposal, files, imported.packs, notes)


def _name(target: Target, document: str, catalog: Catalog) -> str:
    """Choose the mode's name. Raises Unusable if it is no name, or that of another mode."""
    plain = re.sub(r"[^a-z0-9_-]+", "_", document.lower()).strip("_-")[:40].strip("_-")
    name = target.name if target.name is not None else plain
    if not _NAME.fullmatch(name):
        raise Unusable(
            "--name: a mode's name is 1 to 40 small letters, digits, '_' and '-', and begins with "
            "a letter or digit"
        )
    if (target.folder / name).exists():
        if not target.is_forced:
            raise Unusable(f"the mode {name} exists; choose another --name, or replace it: --force")
    elif name in catalog.sources:
        raise Unusable(f"the mode {name} exists ({catalog.sources[name]}); choose another --name")
    return name


@contextmanager
def _prepared(folder: Path) -> Iterator[Path]:
    """Make a hidden folder beside the modes; afterwards nothing of it is left."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=".adding-", dir=folder))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def _write(place: Path, name: str, source: Source, proposal: Proposal, files: list[Needed]) -> None:
    ids = {file.name: file.entry.id for file in files if file.entry}
    main = proposal.main_model
    text = mode_toml(
        name,
        proposal,
        title=source.titles or {"en": _as_title(name)},
        description=source.descriptions,
        least_comfyui=source.least_version,
        model=ids.get(main, main.rpartition(".")[0] or "none"),
        files=tuple(ids.values()),
    )
    place.mkdir()
    (place / "mode.toml").write_text(text, "utf-8")
    graph = json.dumps(proposal.graph, indent=2, ensure_ascii=False)
    (place / GRAPH_FILE).write_text(f"{graph}\n", "utf-8", errors="replace")


def _as_title(name: str) -> str:
    words = re.sub(r"[_-]+", " ", name).strip()
    return words[:1].upper() + words[1:]


def _require_right(place: Path, known: Known) -> Mode:
    """Make the check of `modes check`. Raises NotAMode with every fault."""
    try:
        mode = read_mode(place)
    except CatalogError as error:
        raise NotAMode(*(Reason("", "", fault) for fault in error.faults)) from error
    faults = faults_of(_only(mode), known.definitions, packs=known.packs)
    if faults:
        raise NotAMode(*(Reason(fault.node, fault.node_class, fault.reason) for fault in faults))
    return mode


def _only(mode: Mode) -> Catalog:
    if mode.is_served:
        return Catalog({mode.name: mode})
    return Catalog({}, {mode.name: mode.faults}, {mode.name: mode})


def _put_in_place(place: Path, final: Path, room: Path) -> None:
    """Rename the folder to its place; one that was there goes with the room."""
    before = room / "before"
    if final.exists():
        final.rename(before)
    try:
        place.rename(final)
    except OSError:
        if before.exists():
            before.rename(final)
        raise
