"""One picture in each mode through the public API, as any program would ask for it."""

import base64
from pathlib import Path
from typing import Any

import httpx

from infra.supervisor import comfyui
from infra.supervisor.errors import HostError
from infra.supervisor.host import Host
from infra.supervisor.services import base_url, service_table

PHOTO = Path(__file__).parents[1] / "demo" / "photo.jpg"
PATIENCE_S = 600.0
FREE: dict[str, Any] = {
    "mode": "free",
    "prompt": "a lighthouse on a rocky coast at sunset, gulls over the sea",
    "seed": 42,
}
RESTYLE: dict[str, Any] = {
    "mode": "restyle",
    "style": "anime",
    "prompt": "a house in the hills on a summer evening",
    "seed": 42,
}


def draw(host: Host) -> None:
    """Draw and save `data/demo/free.png` and `restyle.png`, and say where to go from there."""
    folder = host.root / "data" / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    base = base_url(host.address("BACKEND_HOST"), host.port("BACKEND_PORT", 8000))
    photo = base64.b64encode(PHOTO.read_bytes()).decode()
    key = _first_key(host)
    for name, body in (("free", FREE), ("restyle", RESTYLE | {"image": photo})):
        path = folder / f"{name}.png"
        path.write_bytes(_picture(base, key, body))
        print(f"Saved {path}")
    print(_farewell(host, base, with_key=bool(key)))


def _picture(base: str, key: str, body: dict[str, Any]) -> bytes:
    headers = {"Accept": "image/png"} | ({"Authorization": f"Bearer {key}"} if key else {})
    try:
        answer = httpx.post(
            f"{base}/generate", json=body, headers=headers, timeout=PATIENCE_S, trust_env=False
        )
    except httpx.HTTPError as error:
        raise HostError(
            f"The backend at {base} broke off: {error}. See ./startup.sh logs."
        ) from error
    if answer.status_code != 200:
        raise HostError(f"No picture for mode {body['mode']}: {answer.text[:500]}")
    return answer.content


def _first_key(host: Host) -> str:
    first = host.settings.get("BACKEND_API_KEYS", "").split(",")[0]
    return first.partition(":")[2].strip()


def _farewell(host: Host, base: str, *, with_key: bool) -> str:
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
        "The services go on running; ./startup.sh stop ends them.",
    ]
    return "\n".join(lines)
