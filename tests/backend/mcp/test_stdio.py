"""`python -m backend.mcp`: what an agent starts on its own host."""

import subprocess
import sys
from pathlib import Path

import pytest
from mcp import Client

from tests import services
from tests.backend.mcp.agents import ALICE, Backend, photo, stdio
from tests.backend.mcp.test_tools import opened, refusal


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backend.mcp"],
        env=services.clean_environment() | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_backend_that_cannot_be_used_is_one_sentence(backend: Backend) -> None:
    nobody = f"http://127.0.0.1:{services.free_port()}"
    for environment, expected in (
        ({"EASEL_URL": nobody}, "set EASEL_URL, or start Easel"),
        ({"EASEL_URL": "localhost:8000"}, "EASEL_URL: an address must begin with http://"),
        ({"EASEL_URL": backend.url}, "refuses the key; set EASEL_KEY"),
        ({"EASEL_URL": backend.url, "EASEL_KEY": "wrong"}, "refuses the key; set EASEL_KEY"),
        ({"EASEL_URL": backend.url, "EASEL_KEY": "a b"}, "EASEL_KEY must be"),
    ):
        ended = run(**environment)
        assert ended.returncode == 2
        assert ended.stdout == ""
        assert ended.stderr.startswith("error: ")
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert expected in ended.stderr


def test_it_ends_when_the_agent_closes_its_input(backend: Backend) -> None:
    ended = run(EASEL_URL=backend.url, EASEL_KEY=ALICE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


async def test_a_photo_may_be_a_file_and_nothing_but_a_photo_is_read(
    backend: Backend, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picture, secret = tmp_path / "my photo.jpg", tmp_path / "secret.txt"
    picture.write_bytes(photo())
    secret.write_text("the key")
    async with Client(stdio(backend.url, ALICE)) as agent:
        for name in (str(picture), picture.as_uri()):
            result = await agent.call_tool(
                "edit_picture", {"image": name, "width": 256, "height": 256}
            )
            assert opened(result).size == (256, 256)
        said = await refusal(agent, "edit_picture", {"image": str(secret)})
        assert "is not a PNG, JPEG or WebP image" in said
        said = await refusal(agent, "edit_picture", {"image": str(tmp_path / "none.png")})
        assert "no such file" in said
        assert str(tmp_path) not in said
    assert "Traceback" not in capfd.readouterr().err


def test_the_sdk_is_not_loaded_before_an_agent_calls() -> None:
    look = "import backend.main, sys; print(sorted({'mcp', 'mcp_types', 'jwt'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", look],
        env=services.clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
