"""The example of docs/workflows.md is loaded, refused when broken, and drawn, as written there."""

import re
from pathlib import Path
from uuid import uuid4

import pytest

from gpu_server.schemas import State
from tests.gpu_server.engines import engine
from tests.gpu_server.servers import serving
from workflows import catalog
from workflows.catalog import Catalog
from workflows.parameters import check
from workflows.render import Rendered, render, size_of
from workflows.spec import CatalogError

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "workflows.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Put the example's two files where the document puts them."""
    place = tmp_path / "modes" / "wallpaper"
    place.mkdir(parents=True)
    (place / "sdxl.json").write_text(_blocks("json")[0], "utf-8")
    (place / "mode.toml").write_text(_blocks("toml")[0], "utf-8")
    return place


def _render(modes: Catalog, mode: str, **values: object) -> Rendered:
    request = check(modes, mode, {"prompt": "hills in the morning", "seed": 5, **values})
    found = modes.modes[mode]
    return render(found, request, size=size_of(found, request), prefix="easel/job")


def test_the_example_is_a_mode_beside_the_others(folder: Path) -> None:
    modes = catalog.load(folder.parent)
    assert {"free", "restyle", "wallpaper"} <= set(modes.modes)


def test_values_land_in_the_example_where_the_document_says(folder: Path) -> None:
    rendered = _render(catalog.load(folder.parent), "wallpaper", literal=0.2)
    inputs = {node["_meta"]["title"]: node["inputs"] for node in rendered.graph.values()}
    assert inputs["Prompt"]["text"].startswith("hills in the morning, wide landscape")
    assert inputs["Negative prompt"]["text"] == "text, watermark, people, busy, nudity"
    assert inputs["Sampler"]["cfg"] == 4.0
    assert inputs["Sampler"]["steps"] == 24
    assert inputs["Sampler"]["seed"] == 5
    assert (inputs["Size"]["width"], inputs["Size"]["height"]) == (1344, 768)


def test_a_title_the_graph_lacks_is_refused_with_file_and_value(folder: Path) -> None:
    graph = folder / "sdxl.json"
    graph.write_text(graph.read_text("utf-8").replace('"Sampler"', '"KSampler"'), "utf-8")
    with pytest.raises(CatalogError, match=r"wallpaper/sdxl\.json.*'Sampler'"):
        catalog.load_mode(folder)


async def test_the_example_draws_a_picture_of_its_size(folder: Path, tmp_path: Path) -> None:
    job_id = uuid4()
    request = {"mode": "wallpaper", "style": "calm", "prompt": "hills in the morning", "seed": 5}
    async with (
        engine(tmp_path / "comfyui") as comfy,
        serving(comfy.url, tmp_path / "data", easel_workflows_dir=folder.parent) as pod,
    ):
        answer = await pod.http.put(f"/jobs/{job_id}", json=request)
        assert answer.status_code in {200, 202}, answer.text
        job = await pod.ended(job_id)
    assert job.status is State.succeeded
    assert [(image.width, image.height) for image in job.images] == [(1344, 768)]


def test_the_style_of_the_document_fits_at_the_end_of_the_free_mode(tmp_path: Path) -> None:
    place = tmp_path / "free"
    place.mkdir()
    for file in (ROOT / "workflows" / "free").iterdir():
        if file.is_file():
            (place / file.name).write_bytes(file.read_bytes())
    with (place / "mode.toml").open("a", encoding="utf-8") as toml:
        toml.write("\n" + _blocks("toml")[1])
    mode = catalog.load_mode(place)
    rendered = _render(Catalog({"free": mode}), "free", style="watercolour")
    texts = [str(node["inputs"].get("text")) for node in rendered.graph.values()]
    assert any(text.startswith("hills in the morning. A loose watercolour") for text in texts)
