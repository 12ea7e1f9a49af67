from typing import Any

import pytest

from tests.workflows import recorded
from workflows import catalog as workflows
from workflows.catalog import Catalog, OwnCheckpoint


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return workflows.load()


@pytest.fixture(scope="session")
def plain() -> Catalog:
    """Every style served by the owner's one checkpoint."""
    return workflows.load(own=OwnCheckpoint(recorded.CHECKPOINT, recorded.CONTROLNET))


@pytest.fixture(scope="session")
def definitions() -> dict[str, Any]:
    return recorded.definitions()
