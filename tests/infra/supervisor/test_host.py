"""Settings and directories of a host, and the services that follow from them."""

import os
import subprocess
from pathlib import Path

import pytest

from infra.supervisor import comfyui, lifecycle
from infra.supervisor.host import Host, HostError, read_host
from infra.supervisor.services import service_table

ENTRY_POINTS = ("gpu_server", "gpu_server/sketch", "backend", "telegram_bot", "telegram_bot/local")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a tree that has every service's entry point."""
    for package in ENTRY_POINTS:
        (tmp_path / "easel" / package).mkdir(parents=True, exist_ok=True)
        (tmp_path / "easel" / package / "__main__.py").touch()
    return tmp_path / "easel"


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "workspace"
    path.mkdir()
    return path


def at_home(checkout: Path, **environ: str) -> Host:
    return read_host(checkout, environ, pod_dir=checkout / "no-pod")


def commands(host: Host) -> dict[str, list[str]]:
    return {service.name: list(service.command) for service in service_table(host)}


def fake_comfyui(folder: Path, *options: str) -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    lines = "\n".join(f'parser.add_argument("{option}")' for option in options)
    (folder / "comfy" / "cli_args.py").write_text(lines)
    return folder


def test_state_lives_in_the_checkout_and_on_a_pod_on_its_volume(
    checkout: Path, volume: Path
) -> None:
    home = at_home(checkout)
    data = checkout / "data"
    assert (home.data_dir, home.log_dir, home.run_dir) == (data, data / "logs", data / "run")
    assert home.models_dir == data / "models"
    rented = read_host(checkout, {}, pod_dir=volume)
    assert (rented.data_dir, rented.log_dir) == (volume / "easel-data", volume / "logs")
    assert rented.models_dir == volume / "models"
    assert at_home(checkout, EASEL_DATA_DIR="elsewhere").data_dir == checkout / "elsewhere"


def test_env_files_are_read_in_order_and_never_executed(checkout: Path, volume: Path) -> None:
    (checkout / ".env").write_text(
        'EASEL_CHECKPOINT="$(touch pwned) `id` ${HOME}"\nPATH=/nowhere\n'
    )
    (volume / ".env").write_text("EASEL_CHECKPOINT=other\nexport COMFYUI_PORT=9000\n")
    (checkout / "gpu_server" / ".env").write_text("COMFYUI_PORT=9001\nGPU_PORT=8200\n")
    host = read_host(checkout, {}, pod_dir=volume)
    assert host.exported["EASEL_CHECKPOINT"] == "$(touch pwned) `id` ${HOME}"
    assert "PATH" not in host.exported
    assert host.port("COMFYUI_PORT", 8188) == 9000
    assert host.port("GPU_PORT", 8100) == 8200
    assert read_host(checkout, {"COMFYUI_PORT": "9002"}, volume).port("COMFYUI_PORT", 1) == 9002


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("GPU_MODELS_DIR", "move it to gpu_server/.env"),
        ("BOT_TOKEN", "move it to telegram_bot/.env"),
        ("EASEL_CHEKPOINT", "the nearest is EASEL_CHECKPOINT"),
        ("COMFYUI_X", "is not a setting"),
        ("EASEL_VENV", "set it in the environment"),
    ],
)
def test_a_name_that_nothing_reads_in_the_hosts_file_stops_the_start(
    checkout: Path, name: str, advice: str
) -> None:
    (checkout / ".env").write_text(f"EASEL_CHECKPOINT=mine\n{name}=some-secret\nOTHER=x\n")
    with pytest.raises(HostError, match=f"^{name} in .*{advice}") as refused:
        lifecycle.start(at_home(checkout))
    assert "some-secret" not in str(refused.value)
    assert "OTHER" not in str(refused.value)


@pytest.mark.parametrize("value", ["http", "0", "70000", "-1"])
def test_an_invalid_port_is_refused_by_name(checkout: Path, value: str) -> None:
    with pytest.raises(HostError, match=r"COMFYUI_PORT is .*1 to 65535"):
        service_table(at_home(checkout, COMFYUI_PORT=value))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COMFYUI_URL", "http://host:port"),
        ("COMFYUI_URL", "10.0.0.5:8188"),
        ("COMFYUI_URL", "http://"),
        ("COMFYUI_ARGS", "--reserve-vram '2"),
        ("COMFYUI_CUSTOM_NODES", "../../elsewhere"),
        ("COMFYUI_CUSTOM_NODES", "good_pack,--listen"),
    ],
)
def test_a_wrong_setting_of_the_engine_is_refused_by_name(
    checkout: Path, tmp_path: Path, name: str, value: str
) -> None:
    folder = fake_comfyui(tmp_path / "ComfyUI", "--listen")
    with pytest.raises(HostError, match=name):
        service_table(at_home(checkout, COMFYUI_DIR=str(folder), **{name: value}))


def test_without_a_token_the_bot_talks_to_the_local_telegram(checkout: Path) -> None:
    table = {service.name: service for service in service_table(at_home(checkout))}
    assert list(table) == ["comfyui", "gpu_server", "backend", "local_telegram", "telegram_bot"]
    assert table["telegram_bot"].env["BOT_API_BASE_URL"] == "http://127.0.0.1:8081/bot"
    (checkout / "telegram_bot" / ".env").write_text("BOT_TOKEN=1:a\n")
    with_token = {service.name: service for service in service_table(at_home(checkout))}
    assert "local_telegram" not in with_token
    assert "BOT_API_BASE_URL" not in with_token["telegram_bot"].env


def test_services_can_be_chosen_and_those_not_in_the_tree_are_left_out(checkout: Path) -> None:
    assert list(commands(at_home(checkout, EASEL_SERVICES="backend, telegram_bot"))) == [
        "backend",
        "telegram_bot",
    ]
    with pytest.raises(HostError, match="EASEL_SERVICES names painter; allowed: comfyui"):
        service_table(at_home(checkout, EASEL_SERVICES="painter"))
    (checkout / "telegram_bot" / "__main__.py").unlink()
    assert "telegram_bot" not in commands(at_home(checkout))


def test_the_engine_is_the_configured_comfyui_or_an_installed_one_or_the_sketch_engine(
    checkout: Path, tmp_path: Path
) -> None:
    external = at_home(checkout, COMFYUI_URL="http://10.0.0.5:8188/")
    assert service_table(external)[0].ready_url == "http://10.0.0.5:8188/system_stats"
    assert not service_table(external)[0].supervised
    sketch = at_home(checkout, COMFYUI_DIR="none", EASEL_CHECKPOINT="a.safetensors")
    assert commands(sketch)["comfyui"][1:] == [
        *("-m", "gpu_server.sketch", "--host", "127.0.0.1", "--port", "8188"),
        *("--base-dir", str(checkout / "data" / "sketch"), "--checkpoint", "a.safetensors"),
    ]
    assert "without an AI model" in comfyui.engine_sentence(sketch)
    installed = at_home(checkout, COMFYUI_DIR=str(fake_comfyui(tmp_path / "ComfyUI")))
    assert commands(installed)["comfyui"][1] == str(tmp_path / "ComfyUI" / "main.py")


def test_comfyui_gets_loopback_and_only_options_it_knows(checkout: Path, tmp_path: Path) -> None:
    known = ("--listen", "--port", "--extra-model-paths-config", "--offline")
    folder = fake_comfyui(tmp_path / "ComfyUI", *known)
    command = commands(at_home(checkout, COMFYUI_DIR=str(folder), COMFYUI_PORT="9999"))["comfyui"]
    assert command[2:] == [
        *("--listen", "127.0.0.1", "--port", "9999"),
        *("--extra-model-paths-config", str(checkout / "data" / "run" / "comfyui_models.yaml")),
        "--offline",
    ]


def test_comfyui_starts_with_the_node_packs_that_are_named_and_no_others(
    checkout: Path, tmp_path: Path
) -> None:
    known = ("--disable-all-custom-nodes", "--whitelist-custom-nodes")
    folder = fake_comfyui(tmp_path / "ComfyUI", *known)
    plain = commands(at_home(checkout, COMFYUI_DIR=str(folder)))["comfyui"]
    assert plain[2:] == [*known, "easel_nodes"]
    host = at_home(checkout, COMFYUI_DIR=str(folder), COMFYUI_CUSTOM_NODES="ComfyUI-GGUF, b_pack,")
    assert commands(host)["comfyui"][2:] == [*known, "easel_nodes", "ComfyUI-GGUF", "b_pack"]
    (folder / "custom_nodes" / "ComfyUI-GGUF").mkdir(parents=True)
    lifecycle.make_directories(host)
    with pytest.raises(HostError, match="COMFYUI_CUSTOM_NODES names b_pack, which is no folder"):
        comfyui.prepare(host)
    (folder / "custom_nodes" / "b_pack").mkdir()
    comfyui.prepare(host)


def test_the_output_node_is_linked_into_comfyui_in_place_of_an_old_copy(
    checkout: Path, tmp_path: Path
) -> None:
    pack = checkout / "gpu_server" / "comfyui_nodes"
    pack.mkdir()
    folder = fake_comfyui(tmp_path / "ComfyUI")
    old = folder / "custom_nodes" / "easel_nodes"
    old.mkdir(parents=True)
    (old / "stale.py").touch()
    host = at_home(checkout, COMFYUI_DIR=str(folder))
    comfyui.link_nodes(host)
    comfyui.link_nodes(host)
    assert old.resolve() == pack


def test_comfyui_is_not_installed_over_something_else(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "ComfyUI").mkdir()
    (tmp_path / "ComfyUI" / "holiday.jpg").touch()
    with pytest.raises(HostError, match="not empty and holds no ComfyUI"):
        comfyui.install(at_home(checkout, COMFYUI_DIR=str(tmp_path / "ComfyUI")))


def keep_host_keys(system: Path, kept: Path) -> None:
    script = Path(lifecycle.__file__).with_name("host_keys.sh")
    subprocess.run((str(script), str(system), str(kept)), check=True)


def test_a_pods_host_keys_outlive_a_reset(tmp_path: Path) -> None:
    system, kept = tmp_path / "ssh", tmp_path / "volume" / ".ssh_host"
    system.mkdir()
    (system / "ssh_host_ed25519_key").write_text("first")
    (system / "ssh_host_ed25519_key.pub").write_text("public")
    keep_host_keys(system, kept)
    (system / "ssh_host_ed25519_key").write_text("made anew after a reset")
    keep_host_keys(system, kept)
    assert (system / "ssh_host_ed25519_key").read_text() == "first"
    assert (kept / "ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert kept.stat().st_mode & 0o777 == 0o700


def test_a_pod_without_any_host_key_gets_one_that_is_kept(tmp_path: Path) -> None:
    if not os.access("/usr/bin/ssh-keygen", os.X_OK):
        pytest.skip("ssh-keygen is not installed")
    system, kept = tmp_path / "ssh", tmp_path / ".ssh_host"
    system.mkdir()
    keep_host_keys(system, kept)
    kept_key = (kept / "ssh_host_ed25519_key").read_text()
    assert (system / "ssh_host_ed25519_key").read_text() == kept_key != ""


@pytest.mark.parametrize("file", ["", "gpu_server", "backend"])
def test_a_port_moves_those_who_call_the_service_too(checkout: Path, file: str) -> None:
    (checkout / "telegram_bot" / ".env").write_text("BOT_BACKEND_URL=http://127.0.0.1:8000\n")
    ports = {"GPU_PORT": "8101", "BACKEND_PORT": "8001", "COMFYUI_PORT": "8189"}
    if file:
        text = "".join(f"{name}={value}\n" for name, value in ports.items())
        (checkout / file / ".env").write_text(text)
    host = at_home(checkout, **({} if file else ports))
    table = {service.name: service for service in service_table(host)}
    assert table["backend"].env["BACKEND_GPU_SERVERS"] == "http://127.0.0.1:8101"
    assert table["telegram_bot"].env["BOT_BACKEND_URL"] == "http://127.0.0.1:8001"
    for name, service in (("GPU_PORT", "gpu_server"), ("BACKEND_PORT", "backend")):
        assert table[service].env[name] == ports[name] == str(table[service].port)
    assert table["gpu_server"].env["COMFYUI_PORT"] == "8189"


def test_who_calls_a_service_elsewhere_is_left_alone(checkout: Path) -> None:
    told = at_home(checkout, GPU_PORT="8101", BACKEND_GPU_SERVERS="http://10.0.0.5:8100")
    away = at_home(checkout, GPU_PORT="8101", EASEL_SERVICES="backend")
    for host in (told, away):
        [backend] = [one for one in service_table(host) if one.name == "backend"]
        assert "BACKEND_GPU_SERVERS" not in backend.env
