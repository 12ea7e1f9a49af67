"""Tell whether two requests under one id ask for the same thing."""

import asyncio
import hashlib
import json
from typing import Any


async def fingerprint(request: dict[str, Any], photo: bytes | None) -> str:
    """Return the SHA-256 of a request and its photo, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode())
    if photo is not None:
        await asyncio.to_thread(digest.update, photo)
    return digest.hexdigest()
