"""One running Easel with keys, and each client's program run against it once."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import services
from tests.clients.environments import Broken, NotInstalled, pinned
from tests.gpu_server.pictures import samples

KEY = "a-key-for-the-clients-that-are-tried"
Reported = Callable[[str, str], Any]
"""What a step of a client's program reported, by the names of both."""


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Platform]:
    folder = tmp_path_factory.mktemp("clients")
    with services.platform(folder, BACKEND_API_KEYS=f"clients:{KEY}") as platform:
        yield platform


@pytest.fixture(scope="session")
def reported(guarded: services.Platform, tmp_path_factory: pytest.TempPathFactory) -> Reported:
    """Run a client's program when the first of its steps is asked for; skip where it cannot be."""
    clients = pinned()
    photo = tmp_path_factory.mktemp("photo") / "photo.png"
    photo.write_bytes(samples.saved(samples.halves((320, 240)), "PNG"))
    environment = {
        "EASEL_URL": guarded.url,
        "GPU_URL": guarded.pod.url,
        "EASEL_KEY": KEY,
        "OPENAI_BASE_URL": f"{guarded.url}/v1",
        "OPENAI_API_KEY": KEY,
        "PHOTO": str(photo),
    }

    @functools.cache
    def outcome(name: str) -> dict[str, Any] | NotInstalled | Broken:
        try:
            clients[name].install()
            return clients[name].run(environment, tmp_path_factory.mktemp(name))
        except (NotInstalled, Broken) as error:
            return error

    def one(name: str, step: str) -> Any:
        found = outcome(name)
        if isinstance(found, NotInstalled):
            pytest.skip(f"{name} cannot be installed here: {found}")
        if isinstance(found, Broken):
            pytest.fail(f"{name}: {found}", pytrace=False)
        return found[step]

    return one
