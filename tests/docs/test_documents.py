"""What the documents say is there: files, anchors, settings, commands."""

import re
from pathlib import Path

import pytest

from backend.settings import Settings as BackendSettings
from gpu_server.settings import Settings as GpuSettings
from infra.ssh.arguments import HANDLERS
from infra.supervisor.__main__ import main as startup
from telegram_bot.settings import Settings as BotSettings

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("infra/**/*.md"),
        *ROOT.glob("policy/*.md"),
        *ROOT.glob("bench/*.md"),
        *ROOT.glob("infra/docker/*"),
    ]
)
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")
every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def _anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@every_document
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for target, anchor in LINK.findall(document.read_text("utf-8")):
        file = (document.parent / target).resolve() if target else document
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file), target + anchor


def test_every_document_is_found_by_following_links_from_the_readme() -> None:
    found, todo = set(), [ROOT / "README.md"]
    while todo:
        document = todo.pop()
        found.add(document)
        targets = {target for target, _ in LINK.findall(document.read_text("utf-8")) if target}
        linked = {(document.parent / target).resolve() for target in targets}
        todo += [file for file in linked - found if file.suffix == ".md"]
    assert {file for file in DOCUMENTS if file.suffix == ".md"} - found == set()


@every_document
def test_every_setting_of_a_service_that_is_named_exists(document: Path) -> None:
    services = (BackendSettings, GpuSettings, BotSettings)
    known = {name.upper() for service in services for name in service.model_fields}
    pattern = r"\b(?:BACKEND|GPU|BOT)_[A-Z_]*[A-Z]\b"
    named = set(re.findall(pattern, document.read_text("utf-8")))
    assert named - known == set()


@every_document
def test_every_command_that_is_named_exists(
    document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = document.read_text("utf-8")
    with pytest.raises(SystemExit):
        startup(["--help"])
    known = set(re.findall(r"^    ([a-z-]+)\b", capsys.readouterr().out, re.MULTILINE))
    assert set(re.findall(r"\./startup\.sh ([a-z][a-z-]+)\b", text)) - {"does"} <= known
    options = r"(?: (?:-t|--target|--via) \w+)*"
    commands = re.findall(rf"(?:^|[`;&] ?)easel-ssh{options} ([a-z]+)\b", text, re.MULTILINE)
    assert set(commands) - set(HANDLERS) == set()


def test_no_document_is_left_out_of_the_list_of_decisions() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = (folder / "README.md").read_text("utf-8")
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    assert [name for name in pages if f"({name})" not in listed] == []
    assert [name[:4] for name in pages] == [f"{k:04}" for k in range(1, len(pages) + 1)]


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("docs/decisions/[0-9]*.md")), ids=lambda p: p.stem
)
def test_a_decision_has_its_parts_and_fits_a_page(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text.startswith(f"# {page.name[:4]}: ")
    for part in ("**Context.**", "**Decision.**", "**Consequences.**"):
        assert part in text
    assert len(text.split()) < 450


def test_pictures_in_documents_are_small() -> None:
    assert [p.name for p in ROOT.glob("docs/images/*") if p.stat().st_size > 200_000] == []
