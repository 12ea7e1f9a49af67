"""`./startup.sh modes try NAME`: draw one picture in a mode through the public API."""

import argparse
import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.supervisor.commands.demo import ask, key_of, picture
from infra.supervisor.host import Host, HostError
from infra.supervisor.services import backend_url

_TAKEN_UP_S = 8.0
"""How long a new folder of a mode may take to be served."""
_PAUSE_S = 1.0
_MOST_BYTES = 20_000_000


def run(host: Host, argv: Sequence[str]) -> int:
    """Draw and save one picture; exit 2 for a mode or value that cannot be."""
    parser = argparse.ArgumentParser(prog="startup.sh modes try")
    parser.add_argument("name", metavar="NAME", help="the mode")
    text = "a value of the mode's; of a photo, its file"
    parser.add_argument("--param", metavar="k=v", action="append", default=[], help=text)
    parser.add_argument("-o", "--output", metavar="FILE", type=Path, help="default: NAME.png")
    arguments = parser.parse_args(argv)
    base, key = backend_url(host), key_of(host)
    mode = _wait_for(base, key, arguments.name)
    if not mode["available"]:
        reasons = [mode.get("reason"), *(style.get("reason") for style in mode["styles"])]
        told = "; ".join(dict.fromkeys(reason for reason in reasons if reason))
        raise HostError(f"The mode {arguments.name} is not available: {told}")
    try:
        body = _body(mode, arguments.param)
    except ValueError as error:
        parser.error(str(error))
    output: Path = (arguments.output or Path(f"{arguments.name}.png")).absolute()
    began = time.monotonic()
    data = picture(base, key, body)
    output.write_bytes(data)
    print(f"Saved {output}, {len(data) / 1e6:.1f} MB, after {time.monotonic() - began:.0f} s")
    return 0


def _wait_for(base: str, key: str, name: str) -> dict[str, Any]:
    """Return what the backend says of the mode, which may have been added a moment ago."""
    end = time.monotonic() + _TAKEN_UP_S
    while True:
        modes = {mode["name"]: mode for mode in ask(base, key, "/modes")}
        if name in modes:
            found: dict[str, Any] = modes[name]
            return found
        if time.monotonic() > end:
            raise HostError(f"The backend serves no mode {name}; it has {', '.join(modes)}.")
        time.sleep(_PAUSE_S)


def _body(mode: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """Return the request; a text that the mode needs and nobody gave is a plain one."""
    schema = mode["parameters"]
    properties = schema["properties"]
    body: dict[str, Any] = {"mode": mode["name"]}
    for pair in given:
        name, sign, text = pair.partition("=")
        if not sign or name not in properties:
            raise ValueError(f"--param {name}: this mode takes {', '.join(properties)}, as k=v")
        body[name] = _value(name, properties[name], text)
    for name in schema.get("required", ()):
        if name not in body and "contentEncoding" in properties[name]:
            raise ValueError(f"the mode needs a photo: --param {name}=FILE")
        body.setdefault(name, "a red fox in snow")
    return body


def _value(name: str, schema: Mapping[str, Any], text: str) -> Any:
    if "contentEncoding" in schema:
        try:
            with Path(text).expanduser().open("rb") as file:
                return base64.b64encode(file.read(_MOST_BYTES + 1)).decode()
        except OSError as error:
            raise ValueError(f"--param {name}: the file {error.strerror}") from error
    try:
        match schema["type"]:
            case "integer":
                return int(text)
            case "number":
                return float(text)
            case "boolean":
                return {"true": True, "false": False}[text.lower()]
    except (ValueError, KeyError) as error:
        raise ValueError(f"--param {name}: '{text}' is no {schema['type']}") from error
    return text
