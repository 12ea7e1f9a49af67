"""All of Easel as real processes on loopback, and people who chat with its bot."""

import base64
import io
import itertools
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
from PIL import Image, ImageDraw

from telegram_bot.storage.database import Database
from tests.services import free_port, until
from tests.telegram_bot.service import Service

Json = dict[str, Any]
SMALL = "--size 256x256"
TOKEN = "7000000001:a-token-that-nobody-may-ever-see-in-a-log"
GROUP = -1001700000001
_people = itertools.count(50_000)


def photo(width: int = 320, height: int = 240, form: str = "JPEG") -> bytes:
    """Draw a photo with edges in it."""
    image = Image.new("RGB", (width, height), "#9ec1d9")
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, height), (width // 2, height // 4), (width, height)], fill="#4a5a45")
    draw.ellipse([width // 8, height // 8, width // 4, height // 3], fill="#f4d35e")
    out = io.BytesIO()
    image.save(out, form)
    return out.getvalue()


class Stack:
    """Engine, GPU server, backend and local Telegram; `start_bot()` adds a bot."""

    def __init__(self, folder: Path, **backend_env: str) -> None:
        self.folder = folder
        ports = {
            name: free_port() for name in ("engine", "gpu_server", "backend", "local_telegram")
        }
        self.url = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
        data = {"EASEL_DATA_DIR": str(folder)}
        engine_arguments = (
            *("--port", str(ports["engine"])),
            *("--base-dir", str(folder / "engine"), "--faults"),
        )
        self.engine = Service(
            "engine", "gpu_server.sketch", folder, {}, engine_arguments, self._ready("engine")
        )
        gpu = {"GPU_PORT": str(ports["gpu_server"]), "COMFYUI_URL": self.url["engine"]}
        self.gpu_server = Service(
            "gpu_server", "gpu_server", folder, data | gpu, (), self._ready("gpu_server")
        )
        backend = {
            "BACKEND_PORT": str(ports["backend"]),
            "BACKEND_GPU_SERVERS": self.url["gpu_server"],
            "BACKEND_RATE_PER_MINUTE": "0",
        }
        self.backend = Service(
            "backend", "backend", folder, data | backend | backend_env, (), self._ready("backend")
        )
        local = {"LOCAL_TELEGRAM_PORT": str(ports["local_telegram"])}
        self.telegram = Service(
            "local_telegram", "telegram_bot.local", folder, local, (), self.url["local_telegram"]
        )
        self.http = httpx.Client(trust_env=False, timeout=30)
        self._services = [self.engine, self.gpu_server, self.backend, self.telegram]

    def _ready(self, name: str) -> str:
        return f"{self.url[name]}/{'system_stats' if name == 'engine' else 'readyz'}"

    def start(self) -> None:
        for service in self._services:
            service.start()
        for service in self._services:
            service.wait_ready()

    def stop(self) -> None:
        for service in reversed(self._services):
            service.kill()
        self.http.close()

    def bot(self, **env: str) -> Service:
        """Make a bot with settings of its own, not yet started; it ends with the stack."""
        own = {
            "BOT_TOKEN": TOKEN,
            "BOT_BACKEND_URL": self.url["backend"],
            "BOT_API_BASE_URL": f"{self.url['local_telegram']}/bot",
            "EASEL_DATA_DIR": str(self.folder),
            "BOT_METRICS_PORT": str(free_port()),
        }
        name = f"telegram_bot_{len(self._services)}"
        service = Service(name, "telegram_bot", self.folder, own | env)
        self._services.append(service)
        return service

    def start_bot(self, **env: str) -> Service:
        """Start a bot and wait until it is listening."""
        bot = self.bot(**env)
        self.restart(bot)
        return bot

    def restart(self, bot: Service) -> None:
        """Start a bot (again) and wait until it is listening."""
        before = bot.log().count('"ready"')
        bot.start()
        until(lambda: bot.log().count('"ready"') > before or bot.has_ended(), "the bot is ready")
        assert not bot.has_ended(), bot.log()[-2000:]

    def person(self, language: str = "en", user_id: int | None = None) -> "Person":
        """Return a new person, or the one with this id."""
        person = Person(self, user_id or next(_people))
        self.telegram_post("/chat/people", user_id=person.id, language_code=language)
        return person

    def bots_database(self) -> closing[Database]:
        """Open the bot's database beside the bot, as a context manager."""
        name = f"{TOKEN.partition(':')[0]}.sqlite3"
        return closing(Database(self.folder / "telegram_bot" / name))

    def telegram_post(self, path: str, timeout: float = 30, /, **body: Any) -> Json:
        answer = self.http.post(self.url["local_telegram"] + path, json=body, timeout=timeout)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def fault(self, fault: str, method: str = "*", **more: Any) -> None:
        """Order a fault of the local Telegram."""
        self.telegram_post("/chat/fault", method=method, fault=fault, **more)

    def calls(self, method: str = "") -> list[Json]:
        calls = self.http.get(f"{self.url['local_telegram']}/chat/calls").json()
        return [call for call in calls if method in ("", call["method"])]

    def slow_engine(self, seconds: float) -> None:
        """Make each sampling step take that much longer; 0 ends it."""
        url = f"{self.url['engine']}/sketch/faults"
        self.http.delete(url).raise_for_status()
        if seconds:
            self.http.post(url, json={"fault": "slow", "seconds": seconds}).raise_for_status()

    def generations(self, user_id: int) -> list[Json]:
        """Return what the backend has of a person, newest first."""
        url = f"{self.url['backend']}/generations"
        answer = self.http.get(url, params={"user": f"tg{user_id}"}).json()
        return list(answer["generations"])


@dataclass
class Person:
    """A person who chats, in private or in the group."""

    stack: Stack
    id: int
    chat_id: int | None = None

    def in_group(self) -> "Person":
        return Person(self.stack, self.id, GROUP)

    def says(self, text: str, **more: Any) -> int:
        return self.sends(text=text, **more)

    def sends(self, **body: Any) -> int:
        for key in ("photo", "document"):
            if isinstance(body.get(key), bytes):
                body[key] = base64.b64encode(body[key]).decode()
        if "photos" in body:
            body["photos"] = [base64.b64encode(p).decode() for p in body["photos"]]
        if self.chat_id:
            body["chat_id"] = self.chat_id
        return int(self.stack.telegram_post("/chat/send", user_id=self.id, **body)["message_id"])

    def presses(self, message: Json, button: str, timeout: float = 30) -> Json:
        where = {"chat_id": self.chat_id} if self.chat_id else {}
        body = {"user_id": self.id, "message_id": message["message_id"], "button": button}
        return self.stack.telegram_post("/chat/press", timeout, **body, **where)

    def messages(self) -> list[Json]:
        query = {"user_id": self.id} | ({"chat_id": self.chat_id} if self.chat_id else {})
        url = f"{self.stack.url['local_telegram']}/chat/messages"
        messages: list[Json] = self.stack.http.get(url, params=query).json()
        return messages

    def from_bot(self, after: int = 0) -> list[Json]:
        return [m for m in self.messages() if m["from"]["is_bot"] and m["message_id"] > after]

    def sees(self, wanted: Callable[[Json], object], what: str, after: int = 0) -> Json:
        """Wait for a message of the bot that is as wanted; return the first."""
        matches: list[Json] = []

        def look() -> bool:
            matches.extend(message for message in self.from_bot(after) if wanted(message))
            return bool(matches)

        try:
            until(look, what)
        except TimeoutError as error:
            shown = json.dumps([words(m) for m in self.from_bot(after)], ensure_ascii=False)
            raise AssertionError(f"{error}; the bot said: {shown}") from None
        return matches[0]

    def reads(self, text: str, after: int = 0) -> Json:
        """Wait for a message of the bot with this text in it."""
        return self.sees(lambda m: text in words(m), f"«{text}»", after)

    def gets_picture(self, after: int = 0) -> Json:
        """Wait for a finished picture."""
        return self.sees(is_finished, "a finished picture", after)

    def pictures(self, after: int) -> list[int]:
        """Return the ids of the bot's messages that show a photo."""
        return [m["message_id"] for m in self.from_bot(after) if m.get("photo")]

    def only_picture(self, after: int) -> int:
        """Return the id of the bot's only message, which has the picture."""
        [message] = self.from_bot(after)
        assert message.get("photo")
        return int(message["message_id"])

    def sees_no(self, message_id: int) -> None:
        """Wait until this message goes away."""

        def gone() -> bool:
            return all(m["message_id"] != message_id for m in self.messages())

        until(gone, f"message {message_id} is gone")

    def bytes_of(self, path: str) -> bytes:
        return self.stack.http.get(urljoin(self.stack.url["local_telegram"], path)).content


def words(message: Json) -> str:
    return str(message.get("text") or message.get("caption") or "")


def buttons(message: Json) -> list[str]:
    return [button["text"] for row in message["buttons"] for button in row]


def is_finished(message: Json) -> bool:
    return bool(message.get("photo")) and len(buttons(message)) > 4
