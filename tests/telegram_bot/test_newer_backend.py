"""A bot beside a newer backend ignores what it does not know."""

import json
from collections.abc import AsyncIterator
from uuid import uuid4

from fastapi import FastAPI
from starlette.responses import StreamingResponse

from backend.client import BackendClient
from backend.schemas import Generation, ProgressEvent
from telegram_bot.catalogue import readable
from tests.services import served
from tests.telegram_bot.published import published


async def test_events_and_stages_of_a_newer_backend_do_not_end_the_stream() -> None:
    ended = {
        "id": str(uuid4()),
        "status": "succeeded",
        "mode": "free",
        "style": "lux",
        "seed": 1,
        "created_at": "2026-01-01T00:00:00Z",
        "later": {"a": 1},
    }
    events = [
        ("state", ended | {"status": "pondering"}),
        ("progress", {"progress": 3, "stage": "beyond"}),
        ("balance", {"credits": 1}),
        ("preview", []),
        ("progress", {"progress": 0.5, "stage": "a stage of later", "eta": 3}),
        ("result", ended),
    ]
    app = FastAPI()

    async def lines() -> AsyncIterator[str]:
        for name, data in events:
            yield f"event: {name}\ndata: {json.dumps(data)}\n\n"

    @app.get("/generations/{generation}/events")
    async def stream(generation: str) -> StreamingResponse:
        assert generation
        return StreamingResponse(lines(), media_type="text/event-stream")

    with served(app) as url:
        client = BackendClient.at(url)
        async with client.follow(uuid4()) as following:
            seen = [event async for event in following]
        await client.close()
    assert [type(event) for event in seen] == [ProgressEvent, Generation]


def test_of_the_modes_of_a_newer_backend_those_that_can_be_read_stay() -> None:
    known = published("free").model_dump(mode="json")
    later = [known | {"name": "film", "styles": {"a": 1}}, known | {"name": "empty", "styles": []}]
    modes = readable([*later, "a mode", known | {"price": 3}])
    assert [mode.name for mode in modes] == ["free"]


def test_modes_and_styles_that_are_out_of_service_are_not_offered() -> None:
    known = published("free").model_dump(mode="json")
    broken = known | {"name": "poster", "styles": [], "available": False, "reason": "no TOML"}
    faulty = known["styles"][1] | {"name": "noir", "model": "", "sizes": {}, "available": False}
    [mode] = readable([broken, known | {"styles": [*known["styles"], faulty]}])
    assert mode.name == "free"
    assert "noir" not in [style.name for style in mode.styles]
