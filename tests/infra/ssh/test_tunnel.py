import http.client
import json
import signal
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.infra.ssh.conftest import Pod
from tests.infra.ssh.sshd import free_port


@contextmanager
def echo_server() -> Iterator[int]:
    """Run a server that returns everything it received once its peer has finished."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer, peer.makefile("rb") as stream:
                    peer.sendall(stream.read())

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def echoed(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 30) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_remote_port_is_reachable_on_loopback_until_ctrl_c(pod: Pod) -> None:
    with echo_server() as there:
        process = pod.popen("tunnel", f"0:{there}", f"0:{there}")
        assert process.stdout is not None
        for _ in range(2):
            address = process.stdout.readline().split()[0].decode()
            host, _, port = address.partition(":")
            assert host == "127.0.0.1"
            blob = bytes(range(256)) * 4000
            assert echoed(int(port), blob) == blob
            assert echoed(int(port), b"") == b""
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        assert process.returncode == 130


def test_json_names_the_local_ports_at_once(pod: Pod) -> None:
    with echo_server() as there:
        process = pod.popen("--json", "tunnel", f"0:{there}")
        assert process.stdout is not None
        document = json.loads(process.stdout.readline())
        local = document["targets"][0]["tunnels"][0]
        assert local["remote"] == there
        assert echoed(local["local"], b"hi") == b"hi"
        process.terminate()
        process.communicate(timeout=30)


def test_a_port_nobody_serves_closes_the_connection_and_says_so(pod: Pod) -> None:
    process = pod.popen("tunnel", f"0:{free_port()}")
    assert process.stdout is not None
    port = int(process.stdout.readline().split()[0].decode().partition(":")[2])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        connection.getresponse()
    except (http.client.HTTPException, OSError):
        pass
    else:
        raise AssertionError("someone answered")
    finally:
        connection.close()
        process.terminate()
        _, err = process.communicate(timeout=30)
    assert b"on the host" in err


def test_the_proxy_cannot_forward_ports_and_says_why(pod: Pod) -> None:
    done = pod.run("--via", "proxy", "tunnel", "8188:8188")
    assert done.returncode == 255
    assert b"needs a direct connection" in done.stderr


def test_a_taken_local_port_is_a_usage_error(pod: Pod) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = pod.run("tunnel", f"{taken.getsockname()[1]}:80")
    assert done.returncode == 2
    assert b"in use" in done.stderr


def test_a_client_that_breaks_off_leaves_no_connection_open_on_the_host(pod: Pod) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        there.settimeout(30)
        process = pod.popen("tunnel", f"0:{there.getsockname()[1]}")
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[0].decode().partition(":")[2])
        client = socket.create_connection(("127.0.0.1", port), 30)
        client.sendall(b"x")
        served, _ = there.accept()
        with served:
            served.settimeout(30)
            assert served.recv(1) == b"x"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()  # with a reset: no orderly end
            assert served.recv(1) == b""
        process.terminate()
        process.communicate(timeout=30)


def test_a_lost_connection_ends_the_tunnel(pod: Pod) -> None:
    assert pod.direct is not None
    process = pod.popen("tunnel", f"0:{free_port()}")
    assert process.stdout is not None
    process.stdout.readline()
    pod.direct.hang_up()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 255
    assert b"lost" in err
