"""The page of clients names what is tried, in the versions that are pinned."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
BY_HAND = {"open-webui"}


def test_the_page_names_the_clients_that_are_tried_in_their_versions() -> None:
    tables = tomllib.loads((ROOT / "tests" / "clients" / "clients.toml").read_text("utf-8"))
    tried = {
        re.sub(r"(?:\[\w+\])?(?:==|(?<!^)@)", " ", requirement)
        for table in tables.values()
        for requirement in (*table.get("pip", ()), *table.get("npm", ()))
    }
    page = (ROOT / "docs" / "clients.md").read_text("utf-8")
    named = set(re.findall(r"^\|[^|]+\| (\S+ \d[\d.]+) \|", page, re.MULTILINE))
    assert {name for name in named if name.split()[0] not in BY_HAND} == tried
