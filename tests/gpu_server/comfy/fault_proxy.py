"""A TCP proxy on loopback between a service and its peer, for failures in between."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

READ = 65536
COMMIT = b"Q\0\0\0\x0bCOMMIT\0"
"""A commit in PostgreSQL's protocol."""


@dataclass
class FaultProxy:
    """Passes bytes on until a test makes it fail."""

    target: tuple[str, int]
    own_host: bytes = b""
    """The `Host` that clients name; the peer is told its own, as a reverse proxy does."""
    delay_s: float = 0.0
    """Added to everything that comes back."""
    limit_s: float | None = None
    """How long a connection lasts, whatever passes on it, before it is cut."""
    silent: bool = False
    """Connections stay open, nothing passes, new ones are accepted: half-open."""
    refuse: bool = False
    """New connections are cut."""
    lose_posts: int = 0
    """How many prompts to pass on, cutting their connection before the answer."""
    swallow_posts: int = 0
    """How many prompts to swallow, cutting their connection."""
    posts: int = 0
    lose_commits: int = 0
    """How many PostgreSQL commits to pass on, cutting their connection before the answer."""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _passing: asyncio.Event = field(default_factory=asyncio.Event)

    def go_silent(self) -> None:
        self.silent = True
        self._passing.clear()

    def speak_again(self) -> None:
        self.silent = False
        self._passing.set()

    def drop_all(self) -> None:
        """Cut every connection, as when the network fails."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self.target)
            ends = {writer, far_writer}
            self._writers |= ends
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.limit_s), asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._up(reader, far_writer, writer))
                        tasks.create_task(self._down(far_reader, writer))
            finally:
                self._writers -= ends
                for end in ends:
                    end.transport.abort()

    async def _up(
        self,
        reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
        writer: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ):
                await self._passing.wait()
                if self.own_host:
                    host, port = self.target
                    data = data.replace(self.own_host, f"{host}:{port}".encode())
                if data.startswith(b"POST /prompt"):
                    self.posts += 1
                    if self.swallow_posts:
                        self.swallow_posts -= 1
                        break
                    if self.lose_posts:
                        self.lose_posts -= 1
                        data += await reader.read(READ)  # the body comes after the head
                        far_writer.write(data)
                        await asyncio.sleep(0.05)  # so that it arrives before the end does
                        break
                if self.lose_commits and data == COMMIT:
                    self.lose_commits -= 1
                    writer.transport.abort()
                    far_writer.write(data)
                    await asyncio.sleep(0.05)
                    break
                far_writer.write(data)
                await far_writer.drain()
        for end in (far_writer, writer):
            end.close()

    async def _down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ):
                await self._passing.wait()
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def fault_proxy(url: str) -> AsyncIterator[tuple[FaultProxy, str]]:
    """Run a proxy in front of `url`; yield it and its own URL.

    The URL is not a loopback address, so that ComfyUI's disk counts as out of reach and `/view` is
    used.
    """
    where = urlsplit(url)
    assert where.hostname
    assert where.port
    proxy = FaultProxy((where.hostname, where.port))
    proxy.speak_again()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxy.own_host = b"0.0.0.0:%d" % port
    try:
        yield proxy, f"http://0.0.0.0:{port}"
    finally:
        server.close()
        proxy.speak_again()
        proxy.drop_all()
        await server.wait_closed()
