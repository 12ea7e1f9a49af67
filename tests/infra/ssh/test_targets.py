import json
import os
from pathlib import Path

import pytest

from infra.ssh.errors import ConfigError, UsageError
from infra.ssh.targets import load_config

ROUTE = {"host": "203.0.113.7", "user": "root"}
TEMPLATE = Path(__file__).resolve().parents[3] / "infra" / "ssh_config.json.template"


@pytest.fixture(autouse=True)
def _no_openssh_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def write(folder: Path, document: object) -> Path:
    path = folder / "ssh_config.json"
    path.write_text(json.dumps(document))
    return path


def test_the_template_is_a_valid_configuration() -> None:
    config = load_config(TEMPLATE)
    pod = config.select([])[0]
    assert pod.name == "pod1"
    assert [route.via for route in pod.routes("auto")] == ["direct", "proxy"]


def test_only_host_and_user_are_needed(tmp_path: Path) -> None:
    pod = load_config(write(tmp_path, {"targets": {"a": {"direct": ROUTE}}})).select([])[0]
    assert (pod.workdir, pod.known_hosts) == ("/workspace/easel", tmp_path / "known_hosts")
    assert pod.shared == [".env", "backend/.env", "gpu_server/.env", "telegram_bot/.env", "data/"]
    assert pod.direct is not None
    assert (pod.direct.port, pod.direct.key) == (22, None)


def test_file_names_are_relative_to_the_configuration(tmp_path: Path) -> None:
    route = {**ROUTE, "key": "keys/pod"}
    target = {"direct": route, "known_hosts": "~/hosts", "workdir": "/a/b/", "shared": ["c"]}
    pod = load_config(write(tmp_path, {"targets": {"a": target}})).select([])[0]
    assert pod.known_hosts == Path.home() / "hosts"
    assert (pod.workdir, pod.shared) == ("/a/b", ["c"])
    assert pod.direct is not None
    assert pod.direct.key == tmp_path / "keys" / "pod"


def test_targets_are_chosen_by_name_and_all(tmp_path: Path) -> None:
    targets = {name: {"proxy": ROUTE} for name in ("a", "b")}
    config = load_config(write(tmp_path, {"default": "b", "targets": targets}))
    assert [t.name for t in config.select([])] == ["b"]
    assert [t.name for t in config.select(["a", "b", "a"])] == ["a", "b"]
    assert [t.name for t in config.select(["all"])] == ["a", "b"]
    with pytest.raises(UsageError, match="targets: a, b"):
        config.select(["c"])


def test_a_route_that_is_not_configured_is_named(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, {"targets": {"a": {"proxy": ROUTE}}}))
    with pytest.raises(UsageError, match='no "direct" connection; it has: proxy'):
        config.select([])[0].routes("direct")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, 'needs "direct", "proxy" or both'),
        ({"direct": {"host": "a"}}, "targets.a.direct.user: missing"),
        ({"direct": {**ROUTE, "port": "22"}}, 'targets.a.direct.port: "22" is not allowed'),
        ({"direct": {**ROUTE, "port": True}}, "from 1 to 65535"),
        ({"direct": {**ROUTE, "prot": 1}}, 'did you mean "port"'),
        ({"direct": {**ROUTE, "host": "-oProxyCommand=x"}}, "targets.a.direct.host"),
        ({"direct": ROUTE, "workdir": "easel"}, "an absolute path"),
        ({"direct": ROUTE, "workdir": "/"}, "targets.a.workdir"),
        ({"direct": ROUTE, "shared": ["../x"]}, "targets.a.shared"),
        ({"direct": ROUTE, "keep_releases": 1}, "from 2 to 100"),
        ({"direct": ROUTE, "keep_release": 2}, 'did you mean "keep_releases"'),
        ({"direct": ROUTE, "name": "b"}, "targets.a.name: unknown key; allowed: direct, proxy"),
        ({"direct": {**ROUTE, "via": "proxy"}}, "targets.a.direct.via: unknown key"),
        ({"direct": {**ROUTE, "key": ""}}, "a private key file"),
        ({"direct": {**ROUTE, "key": "a\0b"}}, "a private key file"),
        ({"direct": {"user": "root"}}, 'targets.a.direct: needs "host", or "pod"'),
        ({"direct": {"user": "root", "pod": "a/b"}}, "a RunPod pod id"),
        ({"direct": ROUTE, "proxy": None}, "targets.a.proxy: null is not allowed"),
        ({"direct": 5}, "targets.a.direct: 5 is not an object"),
        (7, "targets.a: 7 is not an object"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    tmp_path: Path, target: object, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, {"targets": {"a": target}}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "an object"),
        ({}, "targets"),
        ({"targets": {}}, "at least one target"),
        ({"targets": {"all": {"direct": ROUTE}}}, "choose another name"),
        ({"default": "b", "targets": {"a": {"direct": ROUTE}}}, 'default: "b" is not a target'),
        ({"default": ["a"], "targets": {"a": {"direct": ROUTE}}}, "default"),
        ({"target": {}, "targets": {"a": {"direct": ROUTE}}}, "unknown key"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, document: object, message: str) -> None:
    with pytest.raises(ConfigError, match=r"ssh_config\.json") as caught:
        load_config(write(tmp_path, document))
    assert message in str(caught.value)


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    broken = {"direct": {"host": "", "port": 0}, "workdir": 1}
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, {"targets": {"a": broken}}))
    for key in ("direct.host", "direct.port", "direct.user", "a.workdir"):
        assert key in str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="template"):
        load_config(tmp_path / "none.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_a_windows_editor_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "ssh_config.json"
    path.write_text(json.dumps({"targets": {"ä": {"direct": ROUTE}}}), encoding)
    assert load_config(path).select([])[0].name == "ä"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"targets": {,}}', "line 1 column 14"),
        (b'{"targets": {\n"a": {"direct": {"port": 22,}}}}', "trailing comma at line 2 column 29"),
        (b"{'targets': {}}", "line 1 column 2"),
        (b"// comment\n{}", "line 1 column 1"),
        (b"", "line 1 column 0"),
        (b"[" * 100_000, "recursion limit"),
        (b"\xe4", "is not text (byte 1): save it as UTF-8"),
        ("{}".encode("utf-16-le"), "in another encoding: save it as UTF-8"),
        (b" " * 2_000_000, "is larger than 1 MB"),
    ],
)
def test_a_file_that_is_not_json_is_located(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "ssh_config.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"^ssh_config\.json") as caught:
        load_config(path)
    assert message in str(caught.value)


def test_a_folder_and_a_pipe_are_no_configuration(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in ((tmp_path, "is a folder"), (tmp_path / "pipe", "not a regular file")):
        with pytest.raises(ConfigError, match=message):
            load_config(path)


def test_an_unknown_users_home_is_no_fault_of_the_program(tmp_path: Path) -> None:
    targets = {"a": {"direct": {**ROUTE, "key": "~nobody-here/key"}}}
    key = load_config(write(tmp_path, {"targets": targets})).targets["a"].routes("auto")[0].key
    assert key == tmp_path / "~nobody-here/key"
