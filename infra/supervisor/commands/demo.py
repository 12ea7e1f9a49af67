"""Draw one picture in each mode through the public API, as any program would."""

import base64
from pathlib import Path
from typing import Any

import httpx

from infra.supervisor import comfyui
from infra.supervisor.host import Host, HostError
from infra.supervisor.services import backend_url, service_table

_PHOTO = Path(__file__).parents[2] / "demo" / "photo.jpg"
_DRAW_TIMEOUT_S = 600.0
"""How long to wait for one picture: the first loads a model."""
_FREE: dict[str, Any] = {
    "mode": "free",
    "prompt": "a lighthouse on a rocky coast at sunset, gulls over the sea",
    "seed": 42,
}
_RESTYLE: dict[str, Any] = {
    "mode": "restyle",
    "style": "anime",
    "prompt": "a house in the hills on a summer evening",
    "seed": 42,
}
_OF_A_PHOTO = ("upscale", "cutout")
"""Modes that need a photo alone, and models that not every ComfyUI has."""


def draw(host: Host) -> None:
    """Save `data/demo/MODE.png` for each mode, and say what to try next."""
    folder = host.root / "data" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    base = backend_url(host)
    photo = base64.b64encode(_PHOTO.read_bytes()).decode()
    key = key_of(host)
    has = {mode["name"]: mode["available"] for mode in ask(base, key, "/modes")}
    for body in (_FREE, _RESTYLE, *({"mode": name} for name in _OF_A_PHOTO)):
        name = body["mode"]
        if name in _OF_A_PHOTO and not has.get(name):
            print(f"Not drawn: {name}; `./startup.sh modes list` says what it needs")
            continue
        path = folder / f"{name}.png"
        path.write_bytes(picture(base, key, body if name == "free" else {**body, "image": photo}))
        print(f"Saved {path}")
    print(_next_steps(host, base, with_key=bool(key)))


def key_of(host: Host) -> str:
    """Return the first of the backend's keys; empty if it needs none."""
    return host.setting("BACKEND_API_KEYS").split(",")[0].partition(":")[2].strip()


def ask(base: str, key: str, path: str) -> Any:
    """Return the backend's answer to a question. Raises HostError."""
    return _answer("GET", f"{base}{path}", key, "application/json", f"No answer to {path}").json()


def picture(base: str, key: str, body: dict[str, Any]) -> bytes:
    """Return one picture from the backend. Raises HostError."""
    told = f"No picture for mode {body['mode']}"
    return _answer("POST", f"{base}/generate", key, "image/png", told, body).content


def _answer(
    method: str, url: str, key: str, accept: str, told: str, body: dict[str, Any] | None = None
) -> httpx.Response:
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        answer = httpx.request(
            method, url, json=body, headers=headers, timeout=_DRAW_TIMEOUT_S, trust_env=False
        )
    except httpx.HTTPError as error:
        raise HostError(
            f"The backend at {url.rpartition('/')[0]} did not answer: {error}. "
            "See ./startup.sh logs."
        ) from error
    if answer.status_code != 200:
        raise HostError(f"{told}: {answer.text[:500]}")
    return answer


def _next_steps(host: Host, base: str, *, with_key: bool) -> str:
    lines = ["", comfyui.engine_sentence(host), ""]
    if any(service.name == "local_telegram" for service in service_table(host)):
        port = host.port("LOCAL_TELEGRAM_PORT", 8081)
        lines.append(f"Chat page (the bot, without Telegram): http://127.0.0.1:{port}/")
    lines += [
        f"API docs: {base}/docs",
        "Try it:",
        f"  curl -sS {base}/generate -H 'Accept: image/png' \\",
        *(["    -H 'Authorization: Bearer YOUR_KEY' \\"] if with_key else []),
        "    -H 'Content-Type: application/json' \\",
        '    -d \'{"mode":"free","prompt":"a red fox in snow"}\' -o fox.png',
        "",
        "The services keep running; ./startup.sh stop stops them.",
    ]
    return "\n".join(lines)
