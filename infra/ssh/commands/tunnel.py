"""`tunnel`: ports of the host on 127.0.0.1, until Ctrl-C."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from socketserver import BaseRequestHandler, ThreadingTCPServer

import paramiko

from infra.ssh.connection.remote import CONNECT_SECONDS, Remote
from infra.ssh.errors import ProtocolError, RemoteError, UsageError
from infra.ssh.session import Outcome, Session

_CHUNK = 65536


def tunnel(session: Session) -> Outcome:
    """`tunnel LPORT:RPORT…`: needs a direct connection; LPORT 0 takes any free port."""
    if session.options.via == "proxy" or session.target.direct is None:
        raise ProtocolError(
            "the proxy gives an interactive shell only; port forwarding needs a direct "
            'connection (expose 22/tcp on the pod and fill in "direct")'
        )
    session.options.via = "direct"
    with session.connect() as remote, contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(_Server(local, there, remote, session.console.say))
            for local, there in session.options.ports
        ]
        for server in servers:
            session.console.line(f"127.0.0.1:{server.local_port} -> {server.remote_port}")
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        if session.console.as_json:
            session.console.document({"exit": 0, "targets": [_described(session, servers)]})
        while remote.transport.is_active():
            time.sleep(0.5)
    raise RemoteError(f"the connection to {remote.route} was lost")


def _described(session: Session, servers: list["_Server"]) -> dict[str, object]:
    tunnels = [{"local": s.local_port, "remote": s.remote_port} for s in servers]
    return {"target": session.target.name, "via": "direct", "tunnels": tunnels}


class _Server(ThreadingTCPServer):
    """Listens on one local port; each connection gets a channel of its own."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, local: int, remote_port: int, remote: Remote, say: Callable[[str], None]
    ) -> None:
        try:
            super().__init__(("127.0.0.1", local), _Connection)
        except OSError as error:
            raise UsageError(f"127.0.0.1:{local} cannot be opened: {error.strerror}") from error
        self.local_port = int(self.server_address[1])
        self.remote_port = remote_port
        self.remote = remote
        self.say = say


class _Connection(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        there = ("127.0.0.1", self.server.remote_port)
        try:
            channel = self.server.remote.transport.open_channel(
                "direct-tcpip", there, self.client_address, timeout=CONNECT_SECONDS
            )
        except (paramiko.SSHException, RemoteError) as error:
            self.server.say(f"port {there[1]} on the host: {error}")
            return
        with contextlib.closing(channel):
            outward = threading.Thread(target=self._send, args=(channel,), daemon=True)
            outward.start()
            self._answer(channel)
            outward.join()

    def _send(self, channel: paramiko.Channel) -> None:
        try:
            _copy(self.request.recv, channel.sendall)
            channel.shutdown_write()
        except (OSError, EOFError):  # nobody is left to answer
            channel.close()

    def _answer(self, channel: paramiko.Channel) -> None:
        how = socket.SHUT_RDWR
        with contextlib.suppress(OSError, EOFError):
            _copy(channel.recv, self.request.sendall)
            how = socket.SHUT_WR
        with contextlib.suppress(OSError):
            self.request.shutdown(how)


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], object]) -> None:
    while data := read(_CHUNK):
        write(data)
