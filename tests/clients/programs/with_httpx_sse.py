# mypy: ignore-errors
"""httpx-sse: follow a generation, lose the connection, and go on from the last event."""

import os

import httpx
from httpx_sse import connect_sse
from report import step

http = httpx.Client(
    base_url=os.environ["EASEL_URL"],
    headers={"Authorization": f"Bearer {os.environ['EASEL_KEY']}"},
    timeout=60,
)


def accepted(prompt):
    body = {"mode": "free", "prompt": prompt, "width": 256, "height": 256}
    return http.post("/generations", json=body).raise_for_status().json()["id"]


@step
def follows_to_the_end():
    with connect_sse(http, "GET", f"/generations/{accepted('a lake')}/events") as source:
        return [{"event": event.event, "data": event.json()} for event in source.iter_sse()]


@step
def goes_on_after_a_cut():
    path = f"/generations/{accepted('a lake')}/events"
    with connect_sse(http, "GET", path) as source:
        first = next(source.iter_sse())
    with connect_sse(http, "GET", path, headers={"Last-Event-ID": first.id}) as source:
        rest = list(source.iter_sse())
    return {"first": first.id, "rest": [{"id": event.id, "event": event.event} for event in rest]}


@step
def is_told_that_it_has_seen_the_end():
    path = f"/generations/{accepted('a lake')}/events"
    with connect_sse(http, "GET", path) as source:
        *_, last = source.iter_sse()
    return http.get(path, headers={"Last-Event-ID": last.id}).status_code
