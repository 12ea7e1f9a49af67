"""`modes check` and `modes list`: the modes of this host, and every fault of each."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from gpu_server.mode_check import Definition, ModeFault, faults_of, recorded, states_of
from infra.supervisor.host import Host, HostError
from infra.supervisor.services import require_address, service_table
from workflows.catalog import Catalog, OwnCheckpoint, load

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
    note: str = ""


def catalog_of(host: Host) -> Catalog:
    """Load the catalogue as the services of this host serve it; faults are in it."""
    folder, checkpoint = host.setting("EASEL_WORKFLOWS_DIR"), host.setting("EASEL_CHECKPOINT")
    own = OwnCheckpoint(checkpoint, host.setting("EASEL_CONTROLNET")) if checkpoint else None
    return load(*([Path(host.root, Path(folder).expanduser())] if folder else []), own=own)


def definitions_of(host: Host) -> Known:
    """Return what this host's engine says of its nodes, else what is recorded."""
    engine = next((s for s in service_table(host) if s.name == "comfyui" and s.ready_url), None)
    if engine is None:
        return Known(recorded(), _RECORDED, is_engine=False)
    url = str(engine.ready_url).removesuffix("/system_stats")
    try:
        return Known(_fetch(url), f"the engine at {url}", is_engine=True)
    except NoDefinitions as error:
        return Known(recorded(), _RECORDED, is_engine=False, note=str(error))


def faults_here(host: Host) -> tuple[Known, list[ModeFault]]:
    """Return every fault of this host's modes, and what they were checked against."""
    known = definitions_of(host)
    return known, faults_of(catalog_of(host), known.definitions)


def check(host: Host, names: Sequence[str], *, comfyui: str | None, as_json: bool) -> int:
    """Print every fault of these modes, or of all.

    Return 0, 4 for a fault, or 2 for a bad name and an address where no ComfyUI answers.
    """
    catalog = catalog_of(host)
    if unknown := [name for name in names if name not in catalog.sources]:
        text = f"no mode {', '.join(unknown)}; there are {', '.join(catalog.sources)}"
        return _refuse(text, as_json=as_json)
    try:
        known = definitions_of(host) if comfyui is None else _of_address(comfyui)
    except (NoDefinitions, HostError) as error:
        return _refuse(str(error), as_json=as_json)
    faults = faults_of(catalog, known.definitions, names)
    missing = _missing_files(catalog, known, names)
    if as_json:
        reasons = [_as_reason(fault) for fault in faults]
        answer = {"ok": not faults, "reasons": reasons, "missing_files": missing}
        print(json.dumps({**answer, "checked_against": known.source}))
        return _BROKEN if faults else 0
    for fault in faults:
        print(fault.reason)
    for name, files in missing.items():
        print(f"{name}: this ComfyUI lacks {', '.join(files)}; GET /modes says how to get it")
    note = f" ({known.note})" if known.note else ""
    print(f"Checked against {known.source}{note}: {len(faults)} faults.")
    return _BROKEN if faults else 0


def show(host: Host, *, as_json: bool) -> int:
    """Print each mode, where it comes from, and whether each style is available; return 0."""
    catalog, known = catalog_of(host), definitions_of(host)
    rows = [_row(catalog, name, known) for name in (*catalog.modes, *catalog.broken)]
    if as_json:
        print(json.dumps({"modes": rows, "checked_against": known.source}))
        return 0
    for row in rows:
        state = "available" if row["available"] else f"unavailable: {row['reason']}"
        print(f"{row['mode']:<16} {row['from']:<20} {state}")
        for style in row["styles"] if row["available"] else ():
            print(f"  {style['style']:<35} {style['reason'] or 'available'}")
    return 0


def _row(catalog: Catalog, name: str, known: Known) -> dict[str, Any]:
    row: dict[str, Any] = {"mode": name, "from": catalog.sources[name]}
    if name in catalog.broken:
        reason = "; ".join(catalog.broken[name])
        return {**row, "available": False, "reason": reason, "styles": []}
    mode = catalog.modes[name]
    if known.is_engine:
        states = states_of(mode, known.definitions)
        reasons = {style: state.reason or "" for style, state in states.items()}
    else:
        reasons = dict.fromkeys(mode.styles, "no engine answers; start it with ./startup.sh")
    reasons |= {style: "; ".join(faults) for style, faults in mode.left_out.items()}
    styles = [{"style": s, "available": not r, "reason": r or None} for s, r in reasons.items()]
    if not all(reasons.values()):
        return {**row, "available": True, "reason": None, "styles": styles}
    reason = "; ".join(dict.fromkeys(reasons.values()))
    return {**row, "available": False, "reason": reason, "styles": styles}


def _missing_files(catalog: Catalog, known: Known, names: Sequence[str]) -> dict[str, list[str]]:
    """Return what the engine lacks: `mode` → names of model files."""
    if not known.is_engine:
        return {}
    found: dict[str, list[str]] = {}
    for mode in catalog:
        states = states_of(mode, known.definitions).values()
        files = {file for state in states for file in state.missing}
        if files and (not names or mode.name in names):
            found[mode.name] = sorted(files)
    return found


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


def _of_address(text: str) -> Known:
    """Return the definitions of the ComfyUI at an address. Raises NoDefinitions or HostError."""
    require_address("--comfyui", text)
    url = text.strip().rstrip("/")
    return Known(_fetch(url), f"the ComfyUI at {url}", is_engine=True)


def _fetch(url: str) -> dict[str, Definition]:
    """Fetch all definitions within a limit of time and size. Raises NoDefinitions."""
    body, end = bytearray(), time.monotonic() + _ANSWER_S
    timeout = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S)
    try:
        with httpx.stream("GET", f"{url}/object_info", timeout=timeout, trust_env=False) as answer:
            for part in answer.iter_bytes():
                body += part
                if len(body) > _MAX_BYTES or time.monotonic() > end:
                    raise NoDefinitions(f"the answer of {url} does not end")
        answer.raise_for_status()
        definitions = json.loads(body)
    except httpx.HTTPStatusError as error:
        status = f"{url} answers /object_info with {error.response.status_code}"
        raise NoDefinitions(f"{status}, as no ComfyUI does") from error
    except httpx.HTTPError as error:
        raise NoDefinitions(f"no answer from {url}; is ComfyUI running there?") from error
    except (ValueError, RecursionError) as error:
        raise NoDefinitions(f"what answers at {url} is no ComfyUI") from error
    if not isinstance(definitions, dict) or "SaveImage" not in definitions:
        raise NoDefinitions(f"what answers at {url} is no ComfyUI")
    return definitions
