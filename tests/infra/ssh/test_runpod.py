import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from infra.ssh.errors import ConfigError, RemoteError, SshError
from infra.ssh.runpod import address_of
from tests.infra.ssh import sshd
from tests.infra.ssh.conftest import Pod

KEY = "rpa_ABCDEFGHIJKLMNOP1234567890"


@dataclass
class RunPod:
    """RunPod's API on loopback: it gives one answer and remembers what it was asked."""

    server: ThreadingHTTPServer
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    @property
    def environ(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server.server_port}/v1/"
        return {"RUNPOD_API_KEY": KEY, "EASEL_RUNPOD_API": address}

    def configure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)

    def places(self, host: object, ports: object, state: str = "RUNNING") -> None:
        document = {"id": "abc123", "publicIp": host, "portMappings": ports, "desiredStatus": state}
        self.status, self.body = 200, json.dumps(document).encode()


@pytest.fixture
def runpod() -> Iterator[RunPod]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(api.status)
            self.send_header("Content-Length", str(len(api.body)))
            for name, value in api.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(api.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        api = RunPod(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield api
        server.shutdown()


@pytest.fixture
def by_id(pod: Pod) -> Pod:
    """Name the pod by its id; its host key is on record under it."""
    assert pod.direct is not None
    route = {**pod.route(pod.direct), "pod": "abc123"}
    pod.write(pod={"direct": {name: route[name] for name in ("pod", "user", "key")}})
    key = pod.direct.known_hosts_line.split(" ", 1)[1]
    pod.known_hosts.write_text(f"abc123 {key}")
    return pod


def test_a_pod_is_found_by_its_id_wherever_its_port_is(
    by_id: Pod, runpod: RunPod, start_sshd: Callable[..., sshd.Sshd]
) -> None:
    assert by_id.direct is not None
    runpod.places("127.0.0.1", {"22": by_id.direct.port, "8000": 1})
    done = by_id.run("exec", "--", "echo", "there", env=runpod.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"there\n", b"")
    assert runpod.asked == [("/v1/pods/abc123", f"Bearer {KEY}")]
    stranger = start_sshd("stranger", by_id.direct.user_key)
    runpod.places("127.0.0.1", {"22": stranger.port})  # its old address is someone else's
    refused = by_id.run("exec", "--", "true", env=runpod.environ)
    assert refused.returncode == 255
    assert b"the host key of pod abc123 has CHANGED" in refused.stderr
    assert KEY.encode() not in refused.stderr
    fingerprint = sshd.fingerprint(stranger.host_key.with_suffix(".pub"))
    trusted = by_id.run("hosts", "trust", "--fingerprint", fingerprint, env=runpod.environ)
    assert trusted.returncode == 0
    assert by_id.known_hosts.read_text().startswith("abc123 ssh-ed25519 ")
    assert len(by_id.known_hosts.read_text().splitlines()) == 1
    assert by_id.run("exec", "--", "true", env=runpod.environ).returncode == 0


def test_without_an_api_key_the_written_address_counts(pod: Pod) -> None:
    assert pod.direct is not None
    pod.write(pod={"direct": {**pod.route(pod.direct), "pod": "abc123"}})
    key = pod.direct.known_hosts_line.split(" ", 1)[1]
    pod.known_hosts.write_text(f"abc123 {key}")
    assert pod.run("exec", "--", "true").returncode == 0
    pod.write(pod={"direct": {"pod": "abc123", "user": "root", "key": str(pod.direct.user_key)}})
    done = pod.run("status")
    assert (done.returncode, b"RUNPOD_API_KEY" in done.stderr) == (2, True)
    pod.write(pod={"direct": {"user": "root"}})
    done = pod.run("status")
    assert b'needs "host", or "pod"' in done.stderr


@pytest.mark.parametrize(
    ("host", "ports", "said"),
    [
        (None, None, r"has no public address \(its state: EXITED\)"),
        ("", {}, "has no public address"),
        ("127.0.0.1", {"8000": 1}, "add 22/tcp to its ports"),
        ("127.0.0.1", None, "add 22/tcp to its ports"),
        ("127.0.0.1", {"22": "a"}, "that is no pod"),
        ("127.0.0.1", {"22": 99999}, "that is no pod"),
        ("a b", {"22": 1}, "that is no pod"),
        (7, {"22": 1}, "that is no pod"),
        ("127.0.0.1", 22, "that is no pod"),
    ],
)
def test_a_pod_that_cannot_be_reached_says_why(
    runpod: RunPod, monkeypatch: pytest.MonkeyPatch, host: object, ports: object, said: str
) -> None:
    runpod.configure(monkeypatch)
    runpod.places(host, ports, "EXITED")
    with pytest.raises(RemoteError, match=said):
        address_of("abc123", 10)


@pytest.mark.parametrize(
    ("status", "body", "exit_code", "said"),
    [
        (401, b"{}", 255, r"refuses RUNPOD_API_KEY \(401\)"),
        (403, b"", 255, r"refuses RUNPOD_API_KEY \(403\)"),
        (404, b"not found", 2, 'has no pod "abc123"'),
        (500, b"oops", 255, "answered 500"),
        (200, b"<html>", 255, "that is no pod"),
        (200, b"[]", 255, "that is no pod"),
        (200, b"[" * 200_000, 255, "that is no pod"),
        (200, b" " * 2_000_000, 255, "does not end"),
    ],
)
def test_what_the_api_says_is_explained(
    runpod: RunPod,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    body: bytes,
    exit_code: int,
    said: str,
) -> None:
    runpod.configure(monkeypatch)
    runpod.status, runpod.body = status, body
    with pytest.raises(SshError, match=said) as caught:
        address_of("abc123", 10)
    assert caught.value.exit_code == exit_code


def test_the_api_key_goes_nowhere_else(runpod: RunPod, monkeypatch: pytest.MonkeyPatch) -> None:
    runpod.configure(monkeypatch)
    runpod.status, runpod.headers = 302, {"Location": "/elsewhere"}
    with pytest.raises(RemoteError, match="answered 302"):
        address_of("abc123", 10)
    assert [path for path, _ in runpod.asked] == ["/v1/pods/abc123"]
    for wrong in ("http://api.example/v1", "file:///etc", "nonsense"):
        monkeypatch.setenv("EASEL_RUNPOD_API", wrong)
        with pytest.raises(ConfigError, match="EASEL_RUNPOD_API: allowed"):
            address_of("abc123", 10)
    monkeypatch.setenv("EASEL_RUNPOD_API", "http://127.0.0.1:1")
    with pytest.raises(RemoteError, match="cannot be asked"):
        address_of("abc123", 10)
    monkeypatch.setenv("RUNPOD_API_KEY", "ä\nb")
    with pytest.raises(ConfigError, match="RUNPOD_API_KEY: allowed"):
        address_of("abc123", 10)
