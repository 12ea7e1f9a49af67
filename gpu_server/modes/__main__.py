"""The modes of this host, and every fault of each: what `./startup.sh modes` runs.

`python -m gpu_server.modes list [--json]`
`python -m gpu_server.modes check [NAME…] [--comfyui URL] [--json]`
`python -m gpu_server.modes add SOURCE [--name NAME] [--into DIR] [--yes] [--force] [--json] …`

Exit codes: 0 done, 2 usage or settings, 4 a mode has a fault or a workflow cannot become one.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from gpu_server.comfy.styles import StyleState, too_old
from gpu_server.modes import add_command
from gpu_server.modes.checking import ModeFault, faults_of, states_of
from gpu_server.modes.definitions import Known, NoDefinitions, of_address, of_engine
from gpu_server.settings import ENV_FILE, Settings
from web.settings import load_or_exit
from workflows.catalog import Catalog, Mode

_USAGE, _BROKEN = 2, 4


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="startup.sh modes",
        epilog="Beside these, `try NAME [--param k=v …] [-o FILE]` draws one through the backend.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    listing = commands.add_parser("list", help="where each comes from, available or why not")
    checking = commands.add_parser("check", help="every fault; exit 4 if there is one")
    checking.add_argument("names", nargs="*", metavar="NAME", help="these only")
    text = "check against this ComfyUI instead of this host's engine"
    checking.add_argument("--comfyui", metavar="URL", help=text)
    adding = commands.add_parser("add", help="make a mode of a ComfyUI workflow")
    add_command.take_arguments(adding)
    for command in (listing, checking, adding):
        command.add_argument("--json", action="store_true", help="output for programs")
    arguments = parser.parse_args(argv)
    settings = load_or_exit(Settings, ENV_FILE)
    if arguments.command == "add":
        return add_command.run(settings, arguments)
    catalog = settings.load_catalog()
    if arguments.command == "list":
        return _show(catalog, _of_engine(settings), as_json=arguments.json)
    given, packs = arguments.comfyui, settings.comfyui_custom_nodes
    try:
        _require_modes(catalog, arguments.names)
        known = _of_engine(settings) if given is None else of_address(given, packs)
    except (NoDefinitions, ValueError) as error:
        return _refuse(str(error), as_json=arguments.json)
    return _check(catalog, known, arguments.names, as_json=arguments.json)


def _require_modes(catalog: Catalog, names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in catalog.sources]:
        raise ValueError(f"no mode {', '.join(unknown)}; there are {', '.join(catalog.sources)}")


def _of_engine(settings: Settings) -> Known:
    return of_engine(settings.engine_url, settings.comfyui_custom_nodes)


def _check(catalog: Catalog, known: Known, names: Sequence[str], *, as_json: bool) -> int:
    """Print every fault of these modes, or of all; return 0, or 4 if there is one."""
    faults = faults_of(catalog, known.definitions, names, packs=known.packs)
    missing, old = _missing_files(catalog, known, names), _too_old(catalog, known, names)
    if as_json:
        reasons = [_as_reason(fault) for fault in faults]
        answer = {"ok": not faults, "reasons": reasons, "missing_files": missing, "too_old": old}
        print(json.dumps({**answer, "checked_against": known.source}))
        return _BROKEN if faults else 0
    for fault in faults:
        print(fault.reason)
    for name, files in missing.items():
        print(f"{name}: this ComfyUI lacks {', '.join(files)}; GET /modes says how to get it")
    for name, why in old.items():
        print(f"{name}: {why}")
    note = f" ({known.note})" if known.note else ""
    print(f"Checked against {known.source}{note}: {len(faults)} faults.")
    return _BROKEN if faults else 0


def _show(catalog: Catalog, known: Known, *, as_json: bool) -> int:
    """Print each mode, where it comes from, and whether each style is available; return 0."""
    rows = [_row(catalog, name, known) for name in (*catalog.modes, *catalog.broken)]
    if as_json:
        print(json.dumps({"modes": rows, "checked_against": known.source}))
        return 0
    for row in rows:
        state = "available" if row["available"] else "unavailable"
        print(f"{row['mode']:<16} {row['from']:<20} {state}")
        for style in row["styles"] or [{"style": "", **row}]:
            print(f"  {style['style']:<14} {style['reason'] or 'available'}")
    return 0


def _row(catalog: Catalog, name: str, known: Known) -> dict[str, Any]:
    row: dict[str, Any] = {"mode": name, "from": catalog.sources[name]}
    if name in catalog.broken:
        reason = "; ".join(catalog.broken[name])
        return {**row, "available": False, "reason": reason, "styles": []}
    mode = catalog.modes[name]
    if known.is_engine:
        states = _states(mode, known)
        reasons = {style: state.reason or "" for style, state in states.items()}
    else:
        reasons = dict.fromkeys(mode.styles, "no engine answers; start it with ./startup.sh")
    reasons |= {style: "; ".join(faults) for style, faults in mode.left_out.items()}
    styles = [{"style": s, "available": not r, "reason": r or None} for s, r in reasons.items()]
    if not all(reasons.values()):
        return {**row, "available": True, "reason": None, "styles": styles}
    reason = "; ".join(dict.fromkeys(reasons.values()))
    return {**row, "available": False, "reason": reason, "styles": styles}


def _states(mode: Mode, known: Known) -> dict[str, StyleState]:
    return states_of(mode, known.definitions, packs=known.packs, version=known.version)


def _missing_files(catalog: Catalog, known: Known, names: Sequence[str]) -> dict[str, list[str]]:
    """Return what the engine lacks: `mode` → names of model files."""
    if not known.is_engine:
        return {}
    found: dict[str, list[str]] = {}
    for mode in catalog:
        states = _states(mode, known).values()
        files = {file for state in states for file in state.missing}
        if files and (not names or mode.name in names):
            found[mode.name] = sorted(files)
    return found


def _too_old(catalog: Catalog, known: Known, names: Sequence[str]) -> dict[str, str]:
    """Return the modes for which the engine is too old: `mode` → which one they need."""
    asked = [mode for mode in catalog if not names or mode.name in names]
    return {mode.name: why for mode in asked if (why := too_old(mode, known.version))}


def _as_reason(fault: ModeFault) -> dict[str, str | None]:
    node, node_class = fault.node or None, fault.node_class or None
    return {"mode": fault.mode, "node": node, "class": node_class, "reason": fault.reason}


def _refuse(sentence: str, *, as_json: bool) -> int:
    if as_json:
        reason = {"mode": None, "node": None, "class": None, "reason": sentence}
        print(json.dumps({"ok": False, "reasons": [reason]}))
    else:
        print(f"error: {sentence}", file=sys.stderr)
    return _USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
