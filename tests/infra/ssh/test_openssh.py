import os
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.ssh.openssh import Jump, OpenSshConfig
from tests.infra.ssh import sshd
from tests.infra.ssh.conftest import Pod


def configure(pod: Pod, text: str) -> Path:
    """Write `~/.ssh/config` for a pod's operator; return its folder."""
    folder = pod.folder / ".ssh"
    folder.mkdir(exist_ok=True)
    (folder / "config").write_text(text)
    return folder


def test_an_alias_of_openssh_is_enough_of_a_host(pod: Pod) -> None:
    assert pod.direct is not None
    folder = configure(
        pod,
        f"""
        Host pod1
          HostName 127.0.0.1
          Port {pod.direct.port}
          User {pod.direct.user}
          IdentityFile "{pod.direct.user_key}"
          UserKnownHostsFile ~/.ssh/hosts of pods /dev/null ~/.ssh/others
        """.replace("~/.ssh/hosts of pods", '"~/.ssh/hosts of pods"'),
    )
    pod.write(pod={"direct": {"host": "pod1"}})
    pod.known_hosts.unlink()
    keeps = "# mine\n@cert-authority *.example ssh-ed25519 AAAA\nodd line\n"
    known_hosts = folder / "hosts of pods"
    known_hosts.write_text(keeps)
    refused = pod.run("exec", "--", "true")
    assert (refused.returncode, b"is not a known host" in refused.stderr) == (255, True)
    fingerprint = sshd.fingerprint(pod.direct.host_key.with_suffix(".pub"))
    assert pod.run("hosts", "trust", "--fingerprint", fingerprint).returncode == 0
    assert known_hosts.read_text() == keeps + pod.direct.known_hosts_line
    done = pod.run("exec", "--", "echo", "there")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"there\n", b"")
    assert not pod.known_hosts.exists()


def test_what_the_configuration_says_itself_counts(pod: Pod) -> None:
    assert pod.direct is not None
    configure(pod, "Host *\n  Port 1\n  User nobody\n  IdentityFile ~/none\n  HostName 127.0.0.1\n")
    pod.write(pod={"direct": {**pod.route(pod.direct), "host": "pod1"}})
    assert pod.run("exec", "--", "true").returncode == 0


def test_the_way_leads_through_a_jump_host(pod: Pod, start_sshd: Callable[..., sshd.Sshd]) -> None:
    assert pod.direct is not None
    jump = start_sshd("jump", pod.direct.user_key)
    configure(
        pod,
        f"""
        Host bastion
          HostName 127.0.0.1
          Port {jump.port}
        Host *
          IdentityFile {jump.user_key}
          User {jump.user}
          ProxyJump bastion
        """,
    )
    pod.write(pod={"direct": {"host": "127.0.0.1", "port": pod.direct.port}})
    done = pod.run("exec", "--", "true")
    assert (done.returncode, b"is not a known host" in done.stderr) == (255, True)
    assert str(jump.port).encode() in done.stderr
    pod.known_hosts.write_text(jump.known_hosts_line + pod.direct.known_hosts_line)
    done = pod.run("exec", "--", "echo", "there")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"there\n", b"")
    assert "Accepted publickey" in (jump.folder / "sshd.log").read_text()
    pod.write(pod={"direct": {"host": "127.0.0.1", "port": sshd.free_port()}})
    pod.known_hosts.write_text(jump.known_hosts_line)
    done = pod.run("exec", "--", "true")
    assert (done.returncode, b"cannot be reached through direct" in done.stderr) == (255, True)


def test_a_file_that_cannot_be_used_is_a_warning(pod: Pod) -> None:
    for text in ('Host "open\n', "Match host\n", "just-one-word\n", "Port 1\n\xff\0"):
        configure(pod, text)
        done = pod.run("exec", "--", "echo", "there")
        assert (done.returncode, done.stdout) == (0, b"there\n"), done.stderr
        assert b"Traceback" not in done.stderr


@pytest.fixture
def openssh(tmp_path: Path) -> Callable[..., OpenSshConfig]:
    """Write a configuration and further files beside it."""

    def write(text: str | bytes, **others: str) -> OpenSshConfig:
        for name, other in {"config": text, **others}.items():
            data = other.encode() if isinstance(other, str) else other
            (tmp_path / name).write_bytes(data)
        return OpenSshConfig(tmp_path / "config")

    return write


def test_included_files_count_where_they_are_included(
    openssh: Callable[..., OpenSshConfig],
) -> None:
    config = openssh(
        "Host pod1\n  Include pods/none.* more\n  Port 2\nHost pod2\n  Port 3\n",
        more="Host other\n  Port 9\nHost pod1\n  User root\nInclude config\n",
    )
    pod1, pod2, other = (config.lookup(name) for name in ("pod1", "pod2", "other"))
    assert (pod1.port, pod1.user, pod2.port, other.port) == (2, "root", 3, 9)
    assert len(config.notes) == 1
    assert "too deeply" in config.notes[0]


def test_no_program_is_run_for_a_match(
    openssh: Callable[..., OpenSshConfig], tmp_path: Path
) -> None:
    config = openssh(
        f'Match host pod1 exec "touch {tmp_path}/ran"\n  Port 5\nMatch tagged x\n  Port 6\n'
        'Match host "open\n  Port 7\nMatch Host pod1 originalHost pod1\n  User root\n'
        "Match !host pod1\n  User other\n"
    )
    assert (config.lookup("pod1").port, config.lookup("pod1").user) == (None, "root")
    assert config.lookup("pod2").user == "other"
    assert not (tmp_path / "ran").exists()
    assert [note.split(": ")[1] for note in config.notes] == ["line 1", "line 3", "line 5"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_a_windows_editor_is_read(
    openssh: Callable[..., OpenSshConfig], encoding: str
) -> None:
    text = "Host=pod1\r\n\tHostName = 10.0.0.1\r\n\tproxyjump NONE\r\n"
    entry = openssh(text.encode(encoding)).lookup("pod1")
    assert (entry.host, entry.jumps) == ("10.0.0.1", ())


def test_several_jumps_and_tokens_are_understood(openssh: Callable[..., OpenSshConfig]) -> None:
    config = openssh(
        "Host p*\n HostName %h.example.com\n ProxyJump a@one:22, two,b@[::1]\n"
        " IdentityFile ~/k/%h\n IdentityFile none\n IdentitiesOnly yes\n"
        " HostKeyAlias pods\n Port x\n ProxyCommand nc\n"
    )
    entry = config.lookup("p1")
    assert entry.host == "p1.example.com"
    assert entry.jumps == (Jump("a", "one", 22), Jump(None, "two", None), Jump("b", "::1", None))
    assert entry.identities == (Path("~/k/p1.example.com").expanduser(),)
    assert (entry.identities_only, entry.key_name, entry.port) == (True, "pods", None)
    assert ["ProxyCommand" in note for note in config.notes] == [False, True]


@pytest.mark.parametrize("jump", ["a b", "one:99999", "one:x", "@", "ssh:///", "one,,two"])
def test_a_jump_that_is_none_is_passed_over(
    openssh: Callable[..., OpenSshConfig], jump: str
) -> None:
    config = openssh(f"ProxyJump {jump}\nCanonicalizeMaxDots 1\n")
    config.lookup("p1")
    assert "is not [user@]host[:port]" in config.notes[0]


def test_what_the_parser_refuses_is_passed_over(openssh: Callable[..., OpenSshConfig]) -> None:
    config = openssh("CanonicalizeHostname yes\nCanonicalizeMaxDots many\nHostName other\n")
    assert config.lookup("p1").host == "p1"
    assert "nothing usable about p1" in config.notes[0]


def test_folders_and_pipes_are_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none"):
        config = OpenSshConfig(path)
        assert config.lookup("pod1").host == "pod1"
        assert len(config.notes) == (path.name != "none")
