import json
import socket
from collections.abc import Callable

from tests.infra.ssh import sshd
from tests.infra.ssh.conftest import Pod


def only(pod: Pod, server: sshd.Sshd) -> None:
    """Configure a single target with this server alone."""
    pod.write(pod={"direct": pod.route(server), "workdir": str(pod.workdir)})


def test_an_unknown_host_is_refused_with_its_fingerprint_and_what_to_do(pod: Pod) -> None:
    assert pod.direct is not None
    pod.known_hosts.unlink()
    done = pod.run("exec", "--", "true")
    assert done.returncode == 255
    assert sshd.fingerprint(pod.direct.host_key.with_suffix(".pub")) in done.stderr.decode()
    assert b"hosts trust" in done.stderr
    assert not pod.known_hosts.exists()


def test_a_host_is_trusted_by_its_fingerprint(pod: Pod, via: str) -> None:
    server = pod.direct if via == "direct" else pod.gateway
    assert server is not None
    pod.known_hosts.unlink()
    fingerprint = sshd.fingerprint(server.host_key.with_suffix(".pub"))
    done = pod.run("--via", via, "hosts", "trust", "--fingerprint", fingerprint)
    assert done.returncode == 0
    assert pod.known_hosts.read_text() == server.known_hosts_line
    assert pod.run("--via", via, "exec", "--", "true").returncode == 0


def test_another_fingerprint_is_not_trusted(pod: Pod) -> None:
    pod.known_hosts.unlink()
    wrong = "SHA256:" + "A" * 43
    done = pod.run("--via", "direct", "hosts", "trust", "--fingerprint", wrong)
    assert done.returncode == 255
    assert b"Nothing was recorded" in done.stderr
    assert not pod.known_hosts.exists()


def test_trust_without_a_fingerprint_shows_the_key_and_trusts_nothing(pod: Pod) -> None:
    assert pod.direct is not None
    pod.known_hosts.unlink()
    done = pod.run("--via", "direct", "hosts", "trust")
    assert done.returncode == 2
    assert sshd.fingerprint(pod.direct.host_key.with_suffix(".pub")) in done.stderr.decode()
    assert not pod.known_hosts.exists()


def test_a_changed_host_key_is_refused_until_the_new_one_is_trusted(
    pod: Pod, servers: tuple[sshd.Sshd, sshd.Sshd], start_sshd: Callable[..., sshd.Sshd]
) -> None:
    key = servers[0].user_key
    old = start_sshd("old", key)
    only(pod, old)
    pod.known_hosts.write_text(old.known_hosts_line + servers[0].known_hosts_line)
    assert pod.run("exec", "--", "true").returncode == 0
    old.stop()
    new = start_sshd("new", key, port=old.port)
    refused = pod.run("exec", "--", "true")
    assert refused.returncode == 255
    assert b"CHANGED" in refused.stderr
    assert b"hosts trust" in refused.stderr
    fingerprint = sshd.fingerprint(new.host_key.with_suffix(".pub"))
    assert fingerprint in refused.stderr.decode()
    assert pod.run("hosts", "trust", "--fingerprint", fingerprint).returncode == 0
    assert pod.run("exec", "--", "true").returncode == 0
    lines = pod.known_hosts.read_text().splitlines(keepends=True)
    assert sorted(lines) == sorted([new.known_hosts_line, servers[0].known_hosts_line])


def test_a_wrong_host_key_is_never_answered_by_trying_the_proxy(
    pod: Pod, servers: tuple[sshd.Sshd, sshd.Sshd]
) -> None:
    direct, gateway = servers
    swapped = direct.known_hosts_line.split()[0] + " " + gateway.known_hosts_line.split(" ", 1)[1]
    pod.known_hosts.write_text(swapped + gateway.known_hosts_line)
    done = pod.run("exec", "--", "true")
    assert done.returncode == 255
    assert b"CHANGED" in done.stderr


def test_auto_takes_the_proxy_when_nothing_answers_directly(
    pod: Pod, servers: tuple[sshd.Sshd, sshd.Sshd], via: str
) -> None:
    if via == "direct":
        return
    dead = {**pod.route(servers[0]), "port": sshd.free_port()}
    pod.write(pod={"direct": dead, "proxy": pod.route(servers[1])})
    done = pod.run("exec", "--", "echo", "there")
    assert (done.returncode, done.stdout) == (0, b"there\n")
    assert b"trying the proxy" in done.stderr


def test_an_unreachable_host_exits_255(pod: Pod, servers: tuple[sshd.Sshd, sshd.Sshd]) -> None:
    pod.write(pod={"direct": {**pod.route(servers[0]), "port": sshd.free_port()}})
    done = pod.run("--json", "status")
    assert done.returncode == 255
    assert json.loads(done.stdout)["targets"][0]["error"]["code"] == "unreachable"


def test_connecting_to_a_silent_server_times_out(
    pod: Pod, servers: tuple[sshd.Sshd, sshd.Sshd]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        route = {**pod.route(servers[0]), "port": mute.getsockname()[1]}
        pod.write(pod={"direct": route})
        done = pod.run("--timeout", "1", "status")
    assert done.returncode == 255
    assert b"does not answer as an SSH server" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_refused_login_exits_255_and_names_the_key(pod: Pod) -> None:
    assert pod.direct is not None
    stranger = sshd.new_key(pod.folder / "stranger")
    pod.write(pod={"direct": {**pod.route(pod.direct), "key": str(stranger)}})
    done = pod.run("status")
    assert done.returncode == 255
    assert str(stranger) in done.stderr.decode()
    assert b"authorized_keys" in done.stderr


def test_a_missing_key_is_reported_and_never_answered_by_trying_the_proxy(pod: Pod) -> None:
    assert pod.direct is not None
    assert pod.gateway is not None
    keyless = {name: value for name, value in pod.route(pod.direct).items() if name != "key"}
    pod.write(pod={"direct": keyless, "proxy": pod.route(pod.gateway)})
    done = pod.run("exec", "--", "true", env={"SSH_AUTH_SOCK": ""})
    assert done.returncode == 255
    assert b"ssh-add" in done.stderr


def test_a_missing_or_broken_key_file_is_named(pod: Pod) -> None:
    assert pod.direct is not None
    broken = pod.folder / "broken"
    for text in (None, "not a key"):
        if text is not None:
            broken.write_text(text)
            broken.chmod(0o600)
        pod.write(pod={"direct": {**pod.route(pod.direct), "key": str(broken)}})
        done = pod.run("status")
        assert done.returncode == 255
        assert str(broken) in done.stderr.decode()
        assert b"Traceback" not in done.stderr


def test_hosts_lists_every_route_with_its_trusted_keys(
    pod: Pod, servers: tuple[sshd.Sshd, sshd.Sshd]
) -> None:
    routes = json.loads(pod.run("hosts", "--json").stdout)["targets"][0]["routes"]
    expected = [sshd.fingerprint(s.host_key.with_suffix(".pub")) for s in servers]
    assert [route["fingerprints"] for route in routes] == [[key] for key in expected]
    assert [route["via"] for route in routes] == ["direct", "proxy"]


def test_a_damaged_known_hosts_file_is_named_with_its_line(pod: Pod) -> None:
    pod.known_hosts.write_text("[127.0.0.1]:22 ssh-ed25519 AAAA=broken\n")
    done = pod.run("status")
    assert done.returncode == 2
    assert b"known_hosts is damaged" in done.stderr
