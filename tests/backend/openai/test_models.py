"""Names of models: one for both routes, modes, styles, OpenAI's own and the operator's."""

import shutil
from functools import partial
from pathlib import Path

import httpx
import openai
import pytest

from backend.main import create_app
from backend.openai.models import Models, UnknownAlias
from backend.openai.requests import ImageRequest, translate
from backend.settings import Settings
from tests.backend.openai.pictures import photo
from tests.backend.processes import ROOT, WORKFLOWS
from web.errors import InvalidRequest
from web.settings import SettingsError, load
from workflows.catalog import load as load_modes


def style_of_newest(http: httpx.Client, user: str) -> tuple[str, str]:
    newest = http.get("/generations", params={"user": user, "limit": 1}).json()["generations"][0]
    return newest["mode"], newest["style"]


def test_the_models_are_modes_and_their_styles_and_one_for_both_routes(
    client: openai.OpenAI,
) -> None:
    ids = [model.id for model in client.models.list()]
    assert {"easel", "easel:anime", "easel-free", "easel-restyle:lux", "gpt-image-2"} <= set(ids)
    assert ids[0] == "easel"
    assert len(ids) == len(set(ids))
    for name in ("easel-free:lux", "easel", "gpt-image-2", "dall-e-3", "house-17"):
        assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("org/no-such-model")
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("model", "drawn", "edited"),
    [
        ("easel", ("free", "realism"), ("restyle", "realism")),
        ("easel:lux", ("free", "lux"), ("restyle", "lux")),
        ("dall-e-2", ("free", "realism"), ("restyle", "realism")),
        ("gpt-image-1.5", ("free", "realism"), ("restyle", "realism")),
        ("chatgpt-image-latest", ("free", "realism"), ("restyle", "realism")),
        ("house-style", ("free", "anime"), ("restyle", "anime")),
    ],
)
def test_one_name_draws_on_both_routes(
    client: openai.OpenAI,
    http: httpx.Client,
    model: str,
    drawn: tuple[str, str],
    edited: tuple[str, str],
) -> None:
    client.images.generate(model=model, prompt="a fox", size="256x256", user=model)
    assert style_of_newest(http, model) == drawn
    client.images.edit(model=model, image=photo(), prompt="a fox", size="256x256", user=model)
    assert style_of_newest(http, model) == edited


def test_an_alias_wins_over_openai_names(client: openai.OpenAI, http: httpx.Client) -> None:
    client.images.generate(model="gpt-image-2", prompt="a fox", size="256x256", user="alias")
    assert style_of_newest(http, "alias") == ("free", "lux")


def test_a_model_of_the_other_route_is_told_which_to_use(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="for a photo use easel-restyle") as raised:
        client.images.edit(model="easel-free", image=photo(), prompt="a fox")
    assert raised.value.param == "model"
    with pytest.raises(openai.BadRequestError, match="words only use easel-free") as raised:
        client.images.generate(model="easel-restyle:lux", prompt="a fox")
    assert raised.value.param == "model"
    with pytest.raises(openai.NotFoundError, match="easel:anime") as unknown:
        client.images.generate(model="easel-fre", prompt="a fox")
    assert (unknown.value.code, unknown.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("aliases", "sentence"),
    [
        ("gpt-image-2=easel-fre", "'gpt-image-2' means 'easel-fre', which does not exist; use one"),
        ("x=easel:noir", "'x' means 'easel:noir', which does not exist"),
    ],
)
def test_an_alias_of_nothing_stops_the_start(tmp_path: Path, aliases: str, sentence: str) -> None:
    settings = Settings.model_validate(
        {"easel_data_dir": tmp_path, "backend_model_aliases": aliases}
    )
    with pytest.raises(UnknownAlias, match=sentence):
        create_app(settings)


@pytest.mark.parametrize("aliases", ["gpt-image-2", "=easel", "a=easel,b", "a b=easel"])
def test_aliases_that_are_no_pairs_stop_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aliases: str
) -> None:
    monkeypatch.setenv("BACKEND_MODEL_ALIASES", aliases)
    with pytest.raises(SettingsError, match="BACKEND_MODEL_ALIASES: must be name=model pairs"):
        load(Settings, tmp_path / ".env")


def test_edits_prefer_the_mode_edit_where_a_pod_can_draw_with_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "workflows" / "restyle", tmp_path / "edit")
    catalog = load_modes(tmp_path)
    cases: list[tuple[set[str], str]] = [
        ({"edit", "restyle"}, "edit"),
        ({"restyle"}, "restyle"),
        (set(), "edit"),
    ]
    for able, chosen in cases:
        models = Models(catalog, {}, partial(_is_in, able))
        assert models.choose("gpt-image-1", photo=True)[0].name == chosen
        assert models.choose("easel", photo=False)[0].name == "free"


def _is_in(able: set[str], mode: str, _style: str) -> bool:
    return mode in able


def test_a_mode_with_sizes_of_its_own_says_so() -> None:
    models = Models(load_modes(WORKFLOWS), {})
    body = ImageRequest(model="easel-tiny", prompt="a fox", size="512x512", n=5)
    with pytest.raises(InvalidRequest) as raised:
        translate(models, body)
    assert "size: '512x512' is not possible here (allowed: auto)" in raised.value.detail
    assert "n: is out of range (allowed: a whole number from 1 to 4)" in raised.value.detail
    with pytest.raises(InvalidRequest, match="no mode here draws from a photo in plain"):
        models.choose("easel:plain", photo=True)
