"""A host installs only its own requirements: all that its code imports is pinned there."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OURS = {path.parent.name for path in ROOT.glob("*/__init__.py")}
IN_COMFYUI = ROOT / "gpu_server" / "comfyui_nodes"
HOSTS = {"backend": "backend", "bot": "telegram_bot", "ops": "infra", "gpu": "gpu_server"}


def _imported(file: Path) -> Iterator[str]:
    """Full names of modules, and of what is taken out of them, which may be modules too."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _files_of(package: str) -> list[Path]:
    return [f for f in ROOT.joinpath(package).rglob("*.py") if not f.is_relative_to(IN_COMFYUI)]


def _foreign_modules(files: list[Path]) -> set[str]:
    """Top names of what these files import, with all that they need of our other files."""
    todo, seen, foreign = list(files), set(files), set()
    while todo:
        for module in _imported(todo.pop()):
            if module.split(".")[0] not in OURS:
                foreign.add(module.split(".")[0])
            elif (file := _file_of(module)) is not None and file not in seen:
                seen.add(file)
                todo.append(file)
    return foreign - sys.stdlib_module_names


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_has_everything_that_its_code_imports(host: str) -> None:
    text = (ROOT / "requirements" / f"{host}.txt").read_text("utf-8")
    pinned = {_plain(name) for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE)}
    known = packages_distributions()
    missing = {
        module
        for module in _foreign_modules(_files_of(HOSTS[host]))
        if not pinned & {_plain(name) for name in known.get(module, [module])}
    }
    assert missing == set()


def test_who_uses_a_service_needs_no_web_framework() -> None:
    clients = [ROOT / service / "client.py" for service in ("backend", "gpu_server")]
    assert _foreign_modules(clients) == {"aiohttp", "pydantic"}
