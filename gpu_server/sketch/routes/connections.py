"""Reach the TCP connections beneath requests, for the faults that cut or stall them."""

import asyncio
from collections.abc import Iterable, Iterator

import uvicorn
from starlette.requests import HTTPConnection


def cut(connections: Iterable[HTTPConnection]) -> None:
    """Abort the connections without a close frame."""
    for transport in _transports(connections):
        transport.abort()


def stall(connections: Iterable[HTTPConnection]) -> None:
    """Stop reading from the connections, but leave them open."""
    for transport in _transports(connections):
        if transport.is_reading():
            transport.pause_reading()


def _transports(connections: Iterable[HTTPConnection]) -> Iterator[asyncio.Transport]:
    by_address = {connection.scope["client"]: connection for connection in connections}
    if not by_address:
        return
    server: uvicorn.Server = next(iter(by_address.values())).app.state.server
    for protocol in list(server.server_state.connections):
        if getattr(protocol, "client", None) in by_address and protocol.transport is not None:
            yield protocol.transport
