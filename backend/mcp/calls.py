"""Calls under way, so that a client of an earlier protocol can cancel one by another request.

From the protocol of July 2026 on a client cancels by hanging up. Before, it sends a notification
that names the call by its number, under the session id that it was given. That id is all there is
of a session.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio

SESSION_HEADER = "mcp-session-id"


class Calls:
    def __init__(self) -> None:
        self._scopes: dict[tuple[str, str, str], anyio.CancelScope] = {}

    @contextmanager
    def running(
        self, owner: str, headers: Mapping[str, str], number: int | str
    ) -> Iterator[anyio.CancelScope]:
        """Let the call be cancelled for as long as it runs."""
        key = (owner, headers.get(SESSION_HEADER, ""), str(number))
        with anyio.CancelScope() as scope:
            if key[1]:
                self._scopes[key] = scope
            try:
                yield scope
            finally:
                if self._scopes.get(key) is scope:
                    del self._scopes[key]

    def cancel(self, owner: str, headers: Mapping[str, str], note: Any) -> None:
        """Cancel the call that a notification names, if it is under way."""
        params = note.get("params") if isinstance(note, dict) else None
        number = params.get("requestId") if isinstance(params, dict) else None
        scope = self._scopes.get((owner, headers.get(SESSION_HEADER, ""), str(number)))
        if scope is not None:
            scope.cancel()

    def __len__(self) -> int:
        return len(self._scopes)
