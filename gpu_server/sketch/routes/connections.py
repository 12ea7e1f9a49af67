"""Reach the TCP connections beneath requests, for the faults that cut or stall them."""

import asyncio
from collections.abc import Iterable, Iterator

import uvicorn
from starlette.requests import HTTPConnection


def cut(connection: HTTPConnection) -> None:
    """Abort the connection of a request or socket without a close frame."""
    for transport in _transports(connection, [connection]):
        transport.abort()


def cut_all(connection: HTTPConnection, others: Iterable[HTTPConnection]) -> None:
    """Abort the connections of `others`; `connection` is any connection of the same server."""
    for transport in _transports(connection, others):
        transport.abort()


def stall_all(connection: HTTPConnection, others: Iterable[HTTPConnection]) -> None:
    """Stop reading from the connections of `others`, but leave them open."""
    for transport in _transports(connection, others):
        if transport.is_reading():
            transport.pause_reading()


def _transports(
    connection: HTTPConnection, others: Iterable[HTTPConnection]
) -> Iterator[asyncio.Transport]:
    server: uvicorn.Server | None = connection.app.state.server
    if server is None:
        raise RuntimeError("This fault needs a server made by gpu_server.sketch.create_server.")
    addresses = {other.scope["client"] for other in others}
    for protocol in list(server.server_state.connections):
        if getattr(protocol, "client", None) in addresses and protocol.transport is not None:
            yield protocol.transport
