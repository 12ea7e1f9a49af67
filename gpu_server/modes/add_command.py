"""`./startup.sh modes add`: ask what is open, make the mode, say what became of it."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from gpu_server.modes.adding import Added, Target, Unusable, add
from gpu_server.modes.definitions import Known, NoDefinitions, of_address, to_import_with
from gpu_server.modes.sources import NoSource, Source, open_source
from gpu_server.settings import Settings
from workflows.importing import NotAMode, Reason
from workflows.proposing import Question, take_first

_USAGE, _REFUSED, _INTERRUPTED = 2, 4, 130
_UNSET = (
    "there is no folder for modes of your own: set EASEL_WORKFLOWS_DIR in .env, such as "
    "/workspace/modes, or name a folder with --into"
)


def take_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="a workflow: JSON, PNG or WebP, or template:NAME"
    )
    parser.add_argument("--name", help="the mode's name; default: the file's")
    parser.add_argument("--into", metavar="DIR", type=Path, help="default: EASEL_WORKFLOWS_DIR")
    parser.add_argument("--comfyui", metavar="URL", help="take node definitions from this ComfyUI")
    parser.add_argument("--yes", action="store_true", help="ask nothing, take what is proposed")
    parser.add_argument("--force", action="store_true", help="replace a mode of this name")


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add the mode and print what was done; return the exit code."""
    choose = take_first if arguments.yes or not sys.stdin.isatty() else _ask
    try:
        folder = _folder(settings, arguments.into)
        given = arguments.comfyui
        packs = settings.comfyui_custom_nodes
        is_given = given is not None
        known = of_address(given, packs) if is_given else to_import_with(settings.engine_url, packs)
        source = open_source(arguments.source, known.url)
        target = Target(
            folder,
            arguments.name,
            is_forced=arguments.force,
            own_models=settings.models_file,
        )
        added = add(source, known, settings.load_catalog(), target, choose)
    except NotAMode as error:
        return _refuse(error.reasons, _REFUSED, as_json=arguments.json)
    except (Unusable, NoSource, NoDefinitions, ValueError) as error:
        return _refuse([Reason("", "", str(error))], _USAGE, as_json=arguments.json)
    except KeyboardInterrupt:
        print("error: interrupted; nothing was written", file=sys.stderr)
        return _INTERRUPTED
    if arguments.json:
        print(json.dumps(_as_json(added)))
    else:
        served = settings.easel_workflows_dir
        is_served = served is not None and served.expanduser().absolute() == folder
        print("\n".join(_lines(added, known, source, settings, is_served=is_served)))
    return 0


def _folder(settings: Settings, given: Path | None) -> Path:
    folder = given or settings.easel_workflows_dir
    if folder is None:
        raise Unusable(_UNSET)
    return folder.expanduser().absolute()


def _ask(question: Question) -> int:
    """Let a person choose; Enter takes the first."""
    lines = (f"  {at}  {text}" for at, text in enumerate(question.candidates, 1))
    name = question.about.replace("_", " ")
    print(f"Which is the {name}?", *lines, sep="\n", file=sys.stderr)
    while True:
        print(
            f"1 to {len(question.candidates)}, Enter for 1: ", end="", file=sys.stderr, flush=True
        )
        answer = sys.stdin.readline().strip() or "1"
        if answer.isdecimal() and 1 <= int(answer) <= len(question.candidates):
            return int(answer) - 1


def _refuse(reasons: tuple[Reason, ...] | list[Reason], code: int, *, as_json: bool) -> int:
    if as_json:
        rows = [
            {"node": r.node or None, "class": r.class_ or None, "reason": r.reason} for r in reasons
        ]
        print(json.dumps({"ok": False, "reasons": rows}))
    else:
        for reason in reasons:
            print(f"error: {reason}", file=sys.stderr)
    return code


def _as_json(added: Added) -> dict[str, object]:
    bound = {
        name: targets[0] if len(targets) == 1 else targets
        for name, targets in added.proposal.bind.items()
    }
    return {
        "ok": True,
        "mode": added.name,
        "path": str(added.path),
        "bound": bound,
        "left": [*added.proposal.left, *added.notes],
        "files": [file.as_json() for file in added.files],
        "node_packs": sorted(set(added.packs.values())),
    }


def _lines(
    added: Added, known: Known, source: Source, settings: Settings, *, is_served: bool
) -> Iterator[str]:
    note = f" ({known.note})" if known.note else ""
    yield f"Added the mode {added.name}, in {added.path}. Checked against {known.source}{note}."
    proposal = added.proposal
    yield "\nCallers choose:" if proposal.parameters else "\nCallers choose nothing."
    for name in proposal.parameters:
        targets = proposal.bind.get(name, ["Easel draws as many pictures"])
        yield f"  {name:<18} {', '.join(targets)}"
    if proposal.settings:
        yield "\nSet in its style:"
        for name, value in proposal.settings.items():
            yield f"  {name:<18} {value}"
    if proposal.left or added.notes:
        yield "\nNote:"
        yield from (f"  {sentence}." for sentence in (*proposal.left, *added.notes))
    yield from _about_files(added, known, source, settings)
    if added.packs:
        yield f"\nNode packs: {', '.join(sorted(set(added.packs.values())))}."
    yield f"\nLook at {added.path}/mode.toml, then: ./startup.sh modes try {added.name}"
    if not is_served:
        yield f"To have it served, set EASEL_WORKFLOWS_DIR={added.path.parent} in .env."


def _about_files(added: Added, known: Known, source: Source, settings: Settings) -> Iterator[str]:
    if not added.files:
        return
    yield "\nModel files:"
    for file in added.files:
        if file.entry is None:
            yield f"  {file.name}: {file.fault}"
            continue
        size = f"{file.entry.size / 1e9:.2f} GB" if file.entry.size else "size not known yet"
        state = "new in EASEL_MODELS_FILE" if file.is_new else "listed"
        licence = file.entry.licence or "licence not known, see its page"
        yield f"  {file.entry.id}: {file.entry.dest}, {size}, {licence}, {state}"
    ids = [file.entry.id for file in added.files if file.entry]
    listed = sum(file.entry.size for file in added.files if file.entry)
    total = source.bytes_of_models or listed
    free = _free_bytes(settings.gpu_models_dir)
    if ids:
        yield f"Fetch them with: ./startup.sh models pull {' '.join(ids)}"
    if total and free is not None:
        short = ", which is not enough" if total > free else ""
        yield f"Together {total / 1e9:.1f} GB; the disk has {free / 1e9:.1f} GB free{short}."
    if total > known.gpu_bytes > 0:
        memory = f"{known.gpu_bytes / 1e9:.1f} GB"
        yield f"The GPU has {memory}: ComfyUI loads them in turn, which takes time."


def _free_bytes(folder: Path) -> int | None:
    for place in (folder.absolute(), *folder.absolute().parents):
        if place.is_dir():
            return shutil.disk_usage(place).free
    return None
