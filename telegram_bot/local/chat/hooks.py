"""Commands the operator lets the page run, such as stopping the GPU or restarting the bot."""

import asyncio
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from telegram_bot.local.errors import ApiError
from telegram_bot.local.formatting.entities import Json

_TIMEOUT_S = 120
_MAX_OUTPUT = 2000


@dataclass
class Hooks:
    """Commands by the label of their button; run without a shell, one at a time."""

    commands: Mapping[str, str]
    running: str | None = None

    async def run(self, name: str) -> Json:
        """Return exit code and the end of the output; raise `ApiError`."""
        if name not in self.commands:
            known = ", ".join(self.commands) or "none"
            raise ApiError(404, f"no hook is called {name!r}; known: {known}")
        if self.running is not None:
            raise ApiError(409, f"{self.running!r} is still running")
        self.running = name
        try:
            return await _run(shlex.split(self.commands[name]))
        finally:
            self.running = None


async def _run(command: list[str]) -> Json:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise ApiError(502, f"{command[0]} could not be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise ApiError(504, f"the command ran longer than {_TIMEOUT_S} s and was killed") from None
    return {"exit": process.returncode, "output": output.decode(errors="replace")[-_MAX_OUTPUT:]}
