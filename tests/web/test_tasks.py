"""A service that lost one of its tasks ends, instead of accepting work it cannot do."""

import json
import subprocess
import sys
from pathlib import Path

from tests.services import DEADLINE_S, clean_environment

PROGRAM = """
import asyncio, contextlib
import fastapi, uvicorn
from web import logs
from web import tasks
logs.configure("shop", "INFO")

async def work():
    raise RuntimeError("out of flour")

@contextlib.asynccontextmanager
async def lifespan(_):
    oven = asyncio.create_task(work(), name="oven")
    oven.add_done_callback(tasks.end_if_broken)
    yield

uvicorn.run(fastapi.FastAPI(lifespan=lifespan), port=0, log_config=None)
"""


def test_a_service_with_a_crashed_task_says_so_and_ends(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    ran = subprocess.run(
        [sys.executable, str(program)],
        env=clean_environment(),
        capture_output=True,
        check=False,
        timeout=DEADLINE_S,
    )
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    [broken] = [line for line in lines if line["event"] == "task_crashed"]
    assert (broken["level"], broken["task"]) == ("critical", "oven")
    assert "RuntimeError" in broken["exception"]
