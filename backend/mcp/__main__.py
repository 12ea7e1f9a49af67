"""Entry point: `python -m backend.mcp`, which an agent starts and speaks to over stdio.

It uses the backend at `EASEL_URL` with the key `EASEL_KEY`.
"""

import asyncio
import contextlib
import os
import re

from mcp.server.stdio import stdio_server

from backend.client import BackendClient
from backend.mcp.server import Handlers, create_server
from backend.mcp.there import There
from web.errors import EaselError, Unauthorized
from web.settings import base_url, stop

_LOCAL = "http://127.0.0.1:8000"
_KEY = re.compile(r"[!-~]*")


def main() -> None:
    try:
        url = base_url(os.environ.get("EASEL_URL", "")) or _LOCAL
    except ValueError as error:
        stop(ValueError(f"EASEL_URL: {error}"))
    key = os.environ.get("EASEL_KEY", "").strip()
    if not _KEY.fullmatch(key):
        stop(ValueError("EASEL_KEY must be of printable ASCII characters without blanks"))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(url, key))


async def _serve(url: str, key: str) -> None:
    """Serve until the agent closes its end; exit with a sentence if the backend cannot be used."""
    client = BackendClient.at(url, key)
    try:
        await client.modes()
        server = create_server(Handlers(There(client)))
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    except Unauthorized as error:
        stop(ValueError(f"{url} refuses the key; set EASEL_KEY. {error.detail}"))
    except EaselError as error:
        stop(ValueError(f"{url} cannot be used: {error.detail}; set EASEL_URL, or start Easel"))
    finally:
        await client.close()


if __name__ == "__main__":
    main()
