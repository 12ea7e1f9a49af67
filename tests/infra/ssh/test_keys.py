import contextlib
import functools
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from infra.ssh.connection.keys import load_key
from infra.ssh.errors import AuthenticationError
from tests.infra.ssh import sshd
from tests.infra.ssh.conftest import PROGRAM, Pod

PASSPHRASE = "correct horse"
KINDS = ("rsa", "ecdsa", "ed25519")
FORMATS = {
    "openssh": serialization.PrivateFormat.OpenSSH,
    "pkcs8": serialization.PrivateFormat.PKCS8,
    "pem": serialization.PrivateFormat.TraditionalOpenSSL,
}


@functools.cache
def private(kind: str) -> Any:
    """Return this run's key of a kind."""
    match kind:
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "ecdsa":
            return ec.generate_private_key(ec.SECP384R1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "dsa":
            return dsa.generate_private_key(1024)
        case "ed448":
            return ed448.Ed448PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256K1())


def save(path: Path, kind: str, form: str, passphrase: str = "") -> Path:
    """Write a private key in one of the formats, with mode 600."""
    lock: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        lock = serialization.BestAvailableEncryption(passphrase.encode())
    data = private(kind).private_bytes(serialization.Encoding.PEM, FORMATS[form], lock)
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def public_line(kind: str) -> str:
    openssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return str(private(kind).public_key().public_bytes(*openssh).decode())


@pytest.fixture(scope="module")
def agent() -> Iterator[dict[str, str]]:
    """Start a real ssh-agent and yield the environment that leads to it."""
    started = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True)
    values = dict(part.strip().split("=", 1) for part in started.stdout.split(";") if "=" in part)
    yield {"SSH_AUTH_SOCK": values["SSH_AUTH_SOCK"]}
    subprocess.run(
        ["ssh-agent", "-k"], check=True, env={**os.environ, **values}, capture_output=True
    )


@pytest.fixture
def held(agent: dict[str, str], tmp_path: Path) -> Iterator[Callable[[str], dict[str, str]]]:
    """Put keys into the agent, which forgets them at the end of the test."""
    environ = {**os.environ, **agent}

    def hold(kind: str) -> dict[str, str]:
        key = save(tmp_path / f"for-agent-{kind}", kind, "openssh")
        subprocess.run(["ssh-add", "-q", key], check=True, env=environ)
        key.unlink()
        return agent

    yield hold
    subprocess.run(["ssh-add", "-q", "-D"], check=True, env=environ)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    """Start a server that accepts each kind of key and few attempts."""
    if (reason := sshd.missing()) is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("keys")
    lines = [public_line(kind) for kind in KINDS]
    (folder / "all.pub").write_text("\n".join(lines) + "\n")
    options = ("MaxAuthTries 2",)
    running = sshd.start(folder / "sshd", folder / "all", gateway=False, options=options)
    yield running
    running.stop()


@pytest.fixture
def host(server: sshd.Sshd, tmp_path: Path) -> Iterator[Pod]:
    host = Pod(tmp_path, server, None)
    yield host
    host.clear()


def login(host: Pod, key: Path | None, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Run a command with a key and no terminal; return its exit code and what was said."""
    assert host.direct is not None
    route = host.route(host.direct) | {"key": str(key)}
    if key is None:
        del route["key"]
    host.write(pod={"direct": route})
    process = host.popen("exec", "--", "true", env=env, before=("setsid", "-w"))
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_a_key_in_any_usual_format_is_loaded(tmp_path: Path, kind: str, form: str) -> None:
    if (kind, form) == ("ed25519", "pem"):
        return  # there is no such format
    key = load_key(save(tmp_path / "key", kind, form))
    assert key.get_base64() == public_line(kind).split()[1]


@pytest.mark.parametrize(
    ("kind", "form"), [("rsa", "pkcs8"), ("ecdsa", "pem"), ("ed25519", "pkcs8")]
)
def test_a_server_accepts_them(host: Pod, tmp_path: Path, kind: str, form: str) -> None:
    assert login(host, save(tmp_path / "key", kind, form)) == (0, "")


@pytest.mark.parametrize(
    ("form", "beside"), [("openssh", False), ("openssh", True), ("pkcs8", True), ("pem", True)]
)
def test_a_key_with_a_passphrase_is_used_from_the_agent(
    host: Pod, tmp_path: Path, held: Callable[[str], dict[str, str]], form: str, *, beside: bool
) -> None:
    key = save(tmp_path / "key", "ecdsa", form, PASSPHRASE)
    if beside:
        key.with_name("key.pub").write_text(public_line("ecdsa"))
    assert login(host, key, held("ecdsa")) == (0, "")


def test_a_public_key_chooses_one_of_the_agents_keys(
    host: Pod, tmp_path: Path, held: Callable[[str], dict[str, str]]
) -> None:
    public = tmp_path / "key.pub"
    public.write_text(public_line("ed25519"))
    code, said = login(host, public, held("rsa"))
    assert (code, "is a public key, and ssh-agent does not hold" in said) == (255, True)
    assert login(host, public, held("ed25519")) == (0, "")


def test_only_the_named_key_is_offered_of_an_agent_with_many(
    host: Pod, tmp_path: Path, agent: dict[str, str], held: Callable[[str], dict[str, str]]
) -> None:
    for number in range(3):
        stranger = sshd.new_key(tmp_path / f"stranger{number}")
        subprocess.run(["ssh-add", "-q", stranger], check=True, env={**os.environ, **agent})
    held("rsa")
    code, said = login(host, None, agent)
    assert code == 255
    assert "too many authentication failures (2 keys of ssh-agent were offered, of 4)" in said
    assert 'Name the right one as "key"' in said
    assert login(host, save(tmp_path / "key", "rsa", "openssh", PASSPHRASE), agent) == (0, "")


@pytest.mark.parametrize(("form", "hint"), [("openssh", "ssh-add"), ("pkcs8", "ssh-keygen -yf")])
def test_without_a_terminal_a_passphrase_is_not_asked_for(
    host: Pod, tmp_path: Path, form: str, hint: str
) -> None:
    key = save(tmp_path / "key", "rsa", form, PASSPHRASE)
    code, said = login(host, key)
    assert code == 255
    assert f"{key} has a passphrase, and there is no terminal to ask for it: ssh-add {key}" in said
    assert hint in said


def test_on_a_terminal_the_passphrase_is_asked_for(host: Pod, tmp_path: Path) -> None:
    assert host.direct is not None
    key = save(tmp_path / "key", "rsa", "pkcs8", PASSPHRASE)
    host.write(pod={"direct": host.route(host.direct) | {"key": str(key)}})
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, str(PROGRAM), "exec", "--", "echo", "it", "works"]
        os.execve(sys.executable, command, host.environ)
    answers, shown = [b"wrong", PASSPHRASE.encode()], b""
    with contextlib.suppress(OSError):  # EIO: it has ended
        while data := os.read(terminal, 4096):
            shown += data
            if shown.count(b"Passphrase of") > 2 - len(answers):
                os.write(terminal, answers.pop(0) + b"\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert b"it works" in shown
    assert PASSPHRASE.encode() not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "puttygen"),
        ("-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n", "is a public key in"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n", "is a public key in"),
        ("ssh-rsa AAAAB3NzaC1yc2E= me@here\n", "is a public key, and ssh-agent does not"),
        ("just a note\n", "is not a usable private key"),
        ("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n", "is not a usable"),
        ("-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n", "damaged"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n", "damaged"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n====\n-----END OPENSSH PRIVATE KEY-----", "damaged"),
        (b"\xff\xfe\xfd", "is not text"),
        (b"\0" * 2_000_000, "is larger than 1 MB"),
    ],
)
def test_what_is_no_private_key_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | bytes, said: str
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    path = tmp_path / "key"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(AuthenticationError) as caught:
        load_key(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("kind", ["dsa", "ed448", "secp256k1"])
def test_a_key_of_another_kind_says_which_are_allowed(tmp_path: Path, kind: str) -> None:
    with pytest.raises(AuthenticationError, match="allowed: Ed25519, RSA, and ECDSA"):
        load_key(save(tmp_path / "key", kind, "pkcs8"))


def test_folders_pipes_and_unreadable_files_are_named(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in ((tmp_path, "is a folder"), (pipe, "is not a regular file")):
        with pytest.raises(AuthenticationError, match=said):
            load_key(path)


def test_a_key_saved_by_a_windows_editor_is_loaded(tmp_path: Path) -> None:
    path = save(tmp_path / "key", "ed25519", "openssh")
    text = path.read_text().replace("\n", "\r\n")
    path.write_text(text, encoding="utf-16")
    assert load_key(path).get_base64() == public_line("ed25519").split()[1]


def test_a_public_key_that_others_can_read_is_no_reason_to_warn(
    host: Pod, tmp_path: Path, held: Callable[[str], dict[str, str]]
) -> None:
    public = tmp_path / "key.pub"
    public.write_text(public_line("rsa"))
    public.chmod(0o644)
    assert login(host, public, held("rsa")) == (0, "")
    private = save(tmp_path / "key", "rsa", "openssh")
    private.chmod(0o644)
    code, said = login(host, private)
    assert (code, "chmod 600" in said) == (0, True)
