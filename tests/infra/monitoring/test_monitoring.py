"""Check the monitoring files with promtool and against the metrics that the services export."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import generate_latest

from backend.main import create_app
from backend.settings import Settings
from telegram_bot.metrics import Metrics
from telegram_bot.storage.database import Database
from telegram_bot.storage.deliveries import Deliveries
from tests.gpu_server.engines import engine
from tests.gpu_server.servers import Pod, serving

MONITORING = Path(__file__).parents[3] / "infra" / "monitoring"
DASHBOARD = MONITORING / "grafana" / "dashboards" / "easel.json"
FOREIGN = {"node_filesystem_avail_bytes", "node_filesystem_size_bytes", "up"}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}

UNSHOWN = {"easel_rows_unreadable", "easel_bot_updates_skipped_total"}
"""For looking up: a panel of each would be empty for years."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="promtool is not installed: infra/install_test_packages.sh",
)


@pytest.fixture
async def pod(tmp_path: Path) -> AsyncIterator[Pod]:
    async with engine(tmp_path / "engine") as comfy, serving(comfy.url, tmp_path / "gpu") as pod:
        yield pod


@pytest.fixture
async def metrics(pod: Pod, tmp_path: Path) -> set[str]:
    """Return the names of all series that a backend and a GPU server export."""
    settings = Settings(backend_gpu_servers=[pod.url], easel_data_dir=tmp_path / "backend")
    # In a loop of its own, as a backend that ends also ends the threads of its loop.
    texts = [await asyncio.to_thread(asyncio.run, _of_backend(settings))]
    async with httpx.AsyncClient() as http:
        texts.append((await http.get(f"{pod.url}/metrics")).text)
    bot = Database(tmp_path / "bot.sqlite3")
    texts.append(generate_latest(Metrics(bot, Deliveries(bot)).registry).decode())
    bot.close()
    names = {name for text in texts for name in _series(text)}
    assert {"easel_queue_depth", "easel_gpu_comfyui_up"} <= names
    return names


async def _of_backend(settings: Settings) -> str:
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        return (await http.get("/metrics")).text


def _series(text: str) -> Iterator[str]:
    for name, kind in re.findall(r"^# TYPE (\S+) (\w+)$", text, re.MULTILINE):
        for suffix in SUFFIXES[kind]:
            yield name if name.endswith(suffix) else name + suffix


def _names(expression: str) -> set[str]:
    """Return the metrics in an expression: Easel's, and any other word before `{` or `[`."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\beasel_\w+|\b[a-z_]+(?=\s*[{\[])", bare)) - {"by"}


def _panels() -> list[dict[str, Any]]:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


async def test_every_metric_of_alerts_and_dashboard_is_exported_by_a_service(
    metrics: set[str],
) -> None:
    expressions = [rule["expr"] for rule in _rules()]
    expressions += [query["expr"] for panel in _panels() for query in panel["targets"]]
    used = set().union(*map(_names, expressions))
    assert used - metrics - FOREIGN == set()
    assert len(used & metrics) > 10


@needs_promtool
def test_promtool_accepts_configuration_and_rules(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    shutil.copytree(MONITORING, folder)
    for secret in ("backend.key", "gpu.token"):
        (folder / secret).write_text("a-key-of-the-test")
    _promtool("check", "config", str(folder / "prometheus.yml"))


@needs_promtool
def test_alerts_fire_when_they_should_and_only_then() -> None:
    _promtool("test", "rules", str(MONITORING / "alerts_test.yml"))


@needs_promtool
@pytest.mark.parametrize("panel", _panels(), ids=lambda panel: str(panel["title"]))
def test_each_query_of_the_dashboard_is_promql(panel: dict[str, Any], tmp_path: Path) -> None:
    expressions = [query["expr"].replace("$__rate_interval", "5m") for query in panel["targets"]]
    rules = [{"record": f"panel:{k}", "expr": text} for k, text in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panel", "rules": rules}]}))
    _promtool("check", "rules", str(file))


def _promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_says_what_is_wrong_what_to_do_and_how_urgent_it_is() -> None:
    for rule in _rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}, rule["alert"]
        assert {"summary", "action"} <= set(rule["annotations"]), rule["alert"]


def test_every_alert_has_a_unit_test() -> None:
    tested = (MONITORING / "alerts_test.yml").read_text("utf-8")
    assert [rule["alert"] for rule in _rules() if rule["alert"] not in tested] == []


def test_the_dashboard_keeps_its_address_and_lets_its_data_source_be_chosen() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    assert board["uid"] == "easel"
    assert [variable["type"] for variable in board["templating"]["list"]] == ["datasource"]
    panels = _panels()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}


def test_every_panel_says_what_it_shows() -> None:
    assert [panel["title"] for panel in _panels() if not panel.get("description")] == []


async def test_every_metric_of_ours_has_a_panel_or_an_alert(metrics: set[str]) -> None:
    text = DASHBOARD.read_text("utf-8") + (MONITORING / "alerts.yml").read_text("utf-8")
    families = {name.removesuffix("_bucket") for name in metrics if name.startswith("easel_")}
    unused = {name for name in families if name.removesuffix("_count") not in text}
    assert {name for name in unused if not name.endswith("_sum")} == UNSHOWN


def test_panels_of_the_dashboard_do_not_overlap_and_fit_the_grid() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in _panels():
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            assert x < 24, panel["title"]
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken.get((x, y))}"
                taken[x, y] = panel["title"]


def test_grafana_finds_the_dashboard_where_the_readme_puts_it() -> None:
    provisioning = MONITORING / "grafana" / "provisioning"
    provider = yaml.safe_load((provisioning / "dashboards" / "easel.yaml").read_text("utf-8"))
    folder = provider["providers"][0]["options"]["path"]
    assert f"`{folder}/`" in (MONITORING / "README.md").read_text("utf-8")
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))
    assert source["datasources"][0]["type"] == "prometheus"


def test_no_secret_stands_in_the_configuration() -> None:
    configuration = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))
    for job in configuration["scrape_configs"]:
        assert set(job.get("authorization", {})) <= {"credentials_file"}, job["job_name"]
