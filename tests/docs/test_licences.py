"""The licences page names each direct dependency, its extras, and what its metadata states."""

import re
import tomllib
from collections import defaultdict
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FAMILY = re.compile(r"\b(?:[AL]?GPL|MIT|BSD|Apache|EPL|MPL|OFL|[Zz]lib|CC0|PSF)\b")
ROW = re.compile(r"^\| ([\w.-]+)[^|]*\| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


def _dependencies() -> dict[str, set[str]]:
    """Package → the extras of pyproject.toml that ask for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found: dict[str, set[str]] = defaultdict(set)
    extras = {"(always)": project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in extras.items():
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)
            if name is not None and name[0] != project["name"]:
                found[name[0]].add(extra)
    return found


def _rows() -> dict[str, tuple[set[str], str]]:
    """Package → the extras and the licence that the page states."""
    text = (ROOT / "docs" / "licences.md").read_text("utf-8").partition("## Python packages")[2]
    return {name: (set(extras.split(", ")), licence) for name, extras, licence in ROW.findall(text)}


def _brought_along() -> dict[str, str]:
    """Package → the licence that the page states of what nobody asks for by name."""
    text = (ROOT / "docs" / "licences.md").read_text("utf-8")
    section = text.partition("### What these bring along")[2].partition("\n## ")[0]
    lines = re.findall(r"^- ([^:]+): ((?:.+\n?)(?:  .+\n?)*)", section, re.MULTILINE)
    return {name: licence for licence, names in lines for name in re.split(r",\s+", names.strip())}


def _families(package: str) -> set[str]:
    """Return the families of licences that the installed package states itself."""
    stated = metadata(package)
    own = stated.get_all("License-Expression", [])
    if not own:
        licence = [text.partition("\n")[0] for text in stated.get_all("License", [])]
        classifiers = [c for c in stated.get_all("Classifier", []) if c.startswith("License")]
        own = [*licence, *classifiers]
    text = " ".join(own).replace("Python Software Foundation", "PSF")
    return set(FAMILY.findall(text.replace("Mozilla Public License", "MPL")))


def _pinned() -> set[str]:
    texts = [path.read_text("utf-8") for path in (ROOT / "requirements").glob("*.txt")]
    return set(re.findall(r"^([\w.-]+)==", "\n".join(texts), re.MULTILINE))


DEPENDENCIES = sorted(_dependencies())


@pytest.mark.parametrize("package", DEPENDENCIES)
def test_the_page_names_the_package_and_who_needs_it(package: str) -> None:
    assert package in _rows(), "docs/licences.md has no line for it"
    assert _rows()[package][0] == _dependencies()[package]


@pytest.mark.parametrize("package", DEPENDENCIES)
def test_the_page_states_the_licence_of_the_installed_package(package: str) -> None:
    try:
        stated = _families(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    assert stated, f"{package} states no licence this test knows"
    assert stated - set(FAMILY.findall(_rows()[package][1])) == set()


def test_what_they_bring_along_is_named_with_its_licence() -> None:
    named = _brought_along()
    assert _pinned() - set(_rows()) == named.keys()
    for package, licence in named.items():
        with suppress(PackageNotFoundError):
            assert _families(package) - set(FAMILY.findall(licence)) == set(), package


def test_no_line_is_left_of_a_package_nobody_needs() -> None:
    beside = {"nudenet", "setuptools"}  # requirements/gate.txt, build-system
    assert set(_rows()) - set(DEPENDENCIES) - beside - {"package"} == set()


def test_the_detectors_model_is_named_with_its_pinned_version() -> None:
    pinned = re.search(r"^nudenet==(\S+)", (ROOT / "requirements" / "gate.txt").read_text(), re.M)
    assert pinned is not None
    assert f"`nudenet` {pinned[1]}" in (ROOT / "docs" / "licences.md").read_text("utf-8")


@pytest.mark.parametrize("extra", ["gpu", "backend", "bot", "ops", "dev"])
def test_what_an_extra_asks_for_is_pinned_in_its_requirements(extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.txt").read_text("utf-8")
    pinned = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))
    wanted = {name for name, extras in _dependencies().items() if extras & {extra, "(always)"}}
    assert wanted - pinned == set(), "run requirements/compile.sh"
