"""The modes of this host, and every fault of each: what `./startup.sh modes` runs.

`python -m gpu_server.modes_command list [--json]`
`python -m gpu_server.modes_command check [NAME…] [--comfyui URL] [--json]`

Exit codes: 0 done, 2 usage or settings, 4 a mode has a fault.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from gpu_server.comfy.object_info import Definition, recorded
from gpu_server.comfy.styles import StyleState, too_old
from gpu_server.mode_check import ModeFault, faults_of, states_of
from gpu_server.settings import ENV_FILE, Settings
from web.settings import base_url, load_or_exit
from workflows.catalog import Catalog, Mode

_USAGE, _BROKEN = 2, 4
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
    packs: Sequence[str]
    """The node packs whose nodes a graph may have."""
    version: str = ""
    """Of the ComfyUI that they are from; "" for the sketch engine, which is none."""
    note: str = ""


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="startup.sh modes")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    listing = commands.add_parser("list", help="where each comes from, available or why not")
    checking = commands.add_parser("check", help="every fault; exit 4 if there is one")
    checking.add_argument("names", nargs="*", metavar="NAME", help="these only")
    text = "check against this ComfyUI instead of this host's engine"
    checking.add_argument("--comfyui", metavar="URL", help=text)
    for command in (listing, checking):
        command.add_argument("--json", action="store_true", help="output for programs")
    arguments = parser.parse_args(argv)
    settings = load_or_exit(Settings, ENV_FILE)
    catalog = settings.load_catalog()
    if arguments.command == "list":
        return _show(catalog, _of_engine(settings), as_json=arguments.json)
    given, packs = arguments.comfyui, settings.comfyui_custom_nodes
    try:
        _require_modes(catalog, arguments.names)
        known = _of_engine(settings) if given is None else _of_address(given, packs)
    except (NoDefinitions, ValueError) as error:
        return _refuse(str(error), as_json=arguments.json)
    return _check(catalog, known, arguments.names, as_json=arguments.json)


def _require_modes(catalog: Catalog, names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in catalog.sources]:
        raise ValueError(f"no mode {', '.join(unknown)}; there are {', '.join(catalog.sources)}")


def _of_engine(settings: Settings) -> Known:
    """Return what this host's engine says of its nodes, else what is recorded."""
    packs = settings.comfyui_custom_nodes
    try:
        return _of(settings.engine_url, "engine", packs)
    except NoDefinitions as error:
        return Known(recorded(), _RECORDED, is_engine=False, packs=packs, note=str(error))


def _of_address(text: str, packs: Sequence[str]) -> Known:
    """Return the definitions of the ComfyUI at an address. Raises NoDefinitions or ValueError."""
    try:
        url = base_url(text, user=True)
    except ValueError as error:
        raise ValueError(f"--comfyui: {error}") from error
    if not url:
        raise ValueError("--comfyui: an address is missing, such as http://127.0.0.1:8188")
    return _of(url, "ComfyUI", packs)


def _of(url: str, kind: str, packs: Sequence[str]) -> Known:
    definitions, source = _definitions(url), f"the {kind} at {_shown(url)}"
    return Known(definitions, source, is_engine=True, packs=packs, version=_version(url))


def _shown(url: str) -> str:
    """Return an address without the user's name and the password in it."""
    return str(httpx.URL(url).copy_with(username=None, password=None))


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


def _definitions(url: str) -> dict[str, Definition]:
    """Fetch all definitions. Raises NoDefinitions."""
    definitions = _fetch(url, "/object_info")
    if "SaveImage" not in definitions:
        raise NoDefinitions(f"what answers at {_shown(url)} is no ComfyUI")
    return definitions


def _version(url: str) -> str:
    """Fetch its version; "" if it is no ComfyUI, or does not tell."""
    try:
        system = _fetch(url, "/system_stats").get("system")
    except NoDefinitions:
        return ""
    if not isinstance(system, dict) or "easel_engine" in system:
        return ""
    return str(system.get("comfyui_version", ""))


def _fetch(url: str, path: str) -> dict[str, Any]:
    """Fetch an object within a limit of time and size. Raises NoDefinitions."""
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
        found = json.loads(body)
    except httpx.HTTPStatusError as error:
        status = f"{shown} answers {path} with {error.response.status_code}"
        raise NoDefinitions(f"{status}, as no ComfyUI does") from error
    except httpx.HTTPError as error:
        raise NoDefinitions(f"no answer from {shown}; is ComfyUI running there?") from error
    except (ValueError, RecursionError) as error:
        raise NoDefinitions(f"what answers at {shown} is no ComfyUI") from error
    if not isinstance(found, dict):
        raise NoDefinitions(f"what answers at {shown} is no ComfyUI")
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
