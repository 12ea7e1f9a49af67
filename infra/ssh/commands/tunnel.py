"""`tunnel`: forward ports on 127.0.0.1 to the host until Ctrl-C."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from socketserver import BaseRequestHandler, ThreadingTCPServer

import paramiko

from infra.ssh.connection.channel import reason
from infra.ssh.connection.login import CONNECT_TIMEOUT_S
from infra.ssh.connection.remote import Remote
from infra.ssh.errors import ProtocolError, RemoteError, UsageError
from infra.ssh.session import Outcome, Session

_CHUNK = 65536
_POLL_S = 0.5
"""How often to check that the connection is still alive."""


def tunnel(session: Session) -> Outcome:
    """Run `tunnel LPORT:RPORT…` over a direct connection; LPORT 0 takes any free port."""
    if session.options.via == "proxy" or session.target.direct is None:
        raise ProtocolError(
            "the proxy offers only an interactive shell; port forwarding needs a direct "
            'connection (expose 22/tcp on the pod and fill in "direct")'
        )
    session.options.via = "direct"
    with session.connect() as remote, contextlib.ExitStack() as stack:
        servers = [
            stack.enter_context(_Server(local_port, remote_port, remote, session.console.say))
            for local_port, remote_port in session.options.ports
        ]
        for server in servers:
            session.console.line(f"127.0.0.1:{server.local_port} -> {server.remote_port}")
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.shutdown)
        if session.console.as_json:
            tunnels = [{"local": s.local_port, "remote": s.remote_port} for s in servers]
            entry = {"target": session.target.name, "via": "direct", "tunnels": tunnels}
            session.console.document({"exit": 0, "targets": [entry]})
        while remote.transport.is_active():
            time.sleep(_POLL_S)
    raise RemoteError(f"the connection to {remote.route} was lost")


class _Server(ThreadingTCPServer):
    """Listen on one local port; each connection gets its own channel."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, local_port: int, remote_port: int, remote: Remote, say: Callable[[str], None]
    ) -> None:
        try:
            super().__init__(("127.0.0.1", local_port), _Connection)
        except OSError as error:
            raise UsageError(
                f"127.0.0.1:{local_port} cannot be opened: {error.strerror}"
            ) from error
        self.local_port, self.remote_port = int(self.server_address[1]), remote_port
        self.remote, self.say = remote, say


class _Connection(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        destination = ("127.0.0.1", self.server.remote_port)
        try:
            channel = self.server.remote.transport.open_channel(
                "direct-tcpip", destination, self.client_address, timeout=CONNECT_TIMEOUT_S
            )
        except (paramiko.SSHException, RemoteError) as error:
            self.server.say(f"port {destination[1]} on the host: {reason(error)}")
            return
        with contextlib.closing(channel):
            sender = threading.Thread(target=self._send, args=(channel,), daemon=True)
            sender.start()
            self._receive(channel)
            sender.join()

    def _send(self, channel: paramiko.Channel) -> None:
        try:
            while data := self.request.recv(_CHUNK):
                channel.sendall(data)
            channel.shutdown_write()
        except (OSError, EOFError):  # one side is gone: end the other
            channel.close()

    def _receive(self, channel: paramiko.Channel) -> None:
        how = socket.SHUT_RDWR
        with contextlib.suppress(OSError, EOFError):
            while data := channel.recv(_CHUNK):
                self.request.sendall(data)
            how = socket.SHUT_WR
        with contextlib.suppress(OSError):
            self.request.shutdown(how)
