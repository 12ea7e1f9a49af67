"""Read the files of a mode's folder: what is right in them, and every fault in words."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from workflows.graph import Graph
from workflows.spec import CatalogError, ModeSpec

Faults = dict[tuple[str, ...], list[str]]
"""Faults by what they concern: `("styles", name)`, `("graphs", name)`, or () for the whole mode."""
Place = tuple[int | str, ...]


def read_spec(folder: Path) -> tuple[ModeSpec, Faults]:
    """Read `mode.toml` without what is wrong in it, so that no fault hides another.

    Raises CatalogError if it is no TOML at all.
    """
    where = f"{folder.name}/mode.toml"
    try:
        tables = tomllib.loads(read_text(folder / "mode.toml"))
    except (OSError, ValueError, RecursionError) as error:  # TOML and UTF-8 have own ValueErrors
        raise CatalogError(f"{where}: {reason(error)}") from error
    faults: Faults = {}
    while True:
        try:
            return ModeSpec.model_validate(tables), faults
        except ValidationError as error:
            # Later only what was hidden, not what is missing because it was taken out.
            details = [d for d in error.errors() if not faults or d["type"] == "value_error"]
            for detail in details:
                text = f"{where}: {_in_words(detail['loc'], detail['msg'])}"
                faults.setdefault(_part(detail["loc"]), []).append(text)
            places = {_innermost(tables, detail["loc"]) for detail in error.errors()}
            for place in sorted(places, key=len, reverse=True):
                _take_out(tables, place, folder.name)


def _part(place: Place) -> tuple[str, ...]:
    kind, *names = (*map(str, place), "")
    return (kind, names[0]) if kind in ("graphs", "styles") and names[0] else ()


def _in_words(place: Place, message: str) -> str:
    key = ".".join(map(str, place))
    message = message.removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _innermost(tables: Any, place: Place) -> Place:
    """Return the way to the innermost table entry that a fault's place leads to.

    Pydantic adds names of types, and what is missing; one item of a list goes with all of it.
    """
    for depth, key in enumerate(place):
        if not isinstance(tables, dict) or key not in tables:
            return place[: depth or 1]
        tables = tables[key]
    return place


def _take_out(tables: dict[str, Any], place: Place, name: str) -> None:
    """Remove an entry; put a stand-in where the mode must have one."""
    *way, last = place
    holder = tables
    for key in way:
        holder = holder[str(key)]
    holder.pop(str(last), None)
    stand_ins = {"title": name, "default_style": "", "parameters": {}, "graphs": {}, "styles": {}}
    if not way and last in stand_ins:
        tables[str(last)] = stand_ins[str(last)]


def read_graph(path: Path) -> Graph:
    """Read a graph. Raises CatalogError with every reason why it is none in API format."""
    where = f"{path.parent.name}/{path.name}"
    try:
        graph: Graph = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CatalogError(f"{where}: {reason(error)}") from error
    if faults := list(_faults_in_shape(graph)):
        raise CatalogError(*(f"{where}: {fault}" for fault in faults))
    return graph


def _faults_in_shape(graph: Any) -> Iterator[str]:
    if not isinstance(graph, dict) or isinstance(graph.get("nodes"), list) or not graph:
        yield "this is not a graph in API format; use 'Export (API)' in ComfyUI"
        return
    for key, node in graph.items():
        if not isinstance(node, dict) or not {"class_type", "inputs"} & node.keys():
            yield f"'{key}' is not a node; remove this key"
            continue
        if not isinstance(node.get("class_type"), str):
            yield f"node '{key}': class_type must be the name of a node's class"
        if not isinstance(node.get("inputs"), dict):
            yield f"node '{key}': inputs must be an object, {{}} if there are none"
        if not isinstance(node.get("_meta", {}), dict):
            yield f"node '{key}': _meta must be an object"


def read_text(path: Path) -> str:
    """Read a hand-edited file: UTF-8, with or without a byte order mark."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in data[:2]:
        raise ValueError("it is in UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8; save it as UTF-8") from error


def reason(error: Exception) -> str:
    """Say what is wrong, without a path of this host."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return error.strerror or "cannot be read" if isinstance(error, OSError) else str(error)
