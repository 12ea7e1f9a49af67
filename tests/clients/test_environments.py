"""Clients are installed once, or skipped with the reason."""

from pathlib import Path

import pytest

from tests.clients.environments import Client, NotInstalled


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_without_an_index_a_client_is_not_installed_and_says_which(
    offline: None, tmp_path: Path
) -> None:
    client = Client("one", "pip", ("easel-tries-this==1.0",), tmp_path)
    for _ in range(2):
        with pytest.raises(NotInstalled, match="easel-tries-this"):
            client.install()


def test_without_node_a_client_is_not_installed_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotInstalled, match="node is not installed"):
        Client("one", "npm", ("easel-tries-this@1.0",), tmp_path).install()


def test_what_is_installed_stays_until_another_version_is_pinned(
    offline: None, tmp_path: Path
) -> None:
    old, new = (Client("one", "pip", requirements, tmp_path) for requirements in ((), ("x==1",)))
    old.folder.mkdir()
    (old.folder / "installed").touch()
    old.install()
    assert old.folder.exists()
    with pytest.raises(NotInstalled):
        new.install()
    assert not old.folder.exists()
