"""A small model, a server that has it, and a directory to fetch it into."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gpu_server.models.download import Downloader
from gpu_server.models.manifest import ModelFile
from tests.gpu_server.models.origin import Origin, running


def safetensors(header: object, data: bytes) -> bytes:
    """Build a safetensors file with any header."""
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


WEIGHTS = bytes(range(256)) * 12_000  # 3 MB, so that it comes in several chunks
MODEL = safetensors(
    {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F16", "shape": [1000], "data_offsets": [0, 2000]},
        "b": {"dtype": "U8", "shape": [len(WEIGHTS) - 2000], "data_offsets": [2000, len(WEIGHTS)]},
    },
    WEIGHTS,
)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with running(MODEL) as server:
        yield server


@pytest.fixture
def model(origin: Origin) -> ModelFile:
    return described(f"{origin.url}/tiny.safetensors", MODEL)


def described(url: str, content: bytes, **changes: Any) -> ModelFile:
    """Describe `content` as the manifest would."""
    entry = {
        "id": "tiny",
        "dest": "vae/tiny.safetensors",
        "url": url,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "Apache-2.0",
    }
    return ModelFile.model_validate(entry | changes)


@pytest.fixture
def downloader(tmp_path: Path) -> Iterator[Callable[..., Downloader]]:
    """Make downloaders for one directory that do not pause between attempts."""
    with httpx.Client(trust_env=False) as client:

        def make(**options: Any) -> Downloader:
            chosen: dict[str, Any] = {"pause_s": 0.0, "progress": lambda *_: None} | options
            return Downloader(client, tmp_path / "models", **chosen)

        yield make
