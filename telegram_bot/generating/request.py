"""What a person wants drawn, as the backend takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

from backend.schemas import Generation, ModeInfo
from telegram_bot.catalogue import schema_of, style_of

_NAMESPACE = UUID("5e9b7c1e-8f0b-5d5a-9a1c-2f6d3b1c7a42")
_CARRIED = ("negative_prompt", "width", "height", "count", "strength", "prompt")


@dataclass(frozen=True)
class Wish:
    """`photo`: where the picture to restyle comes from, as in `Delivery`."""

    mode: str
    style: str
    words: str = ""
    photo: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    def request(self, user_id: int) -> dict[str, Any]:
        """The body for the backend; the photo travels beside it."""
        words = {"prompt": self.words} if self.words else {}
        own = {"mode": self.mode, "style": self.style, "user": backend_user(user_id)}
        return {**self.values, **words, **own}


def of_request(request: Mapping[str, Any], photo: str | None) -> Wish:
    """The wish a request was made from."""
    values = {k: v for k, v in request.items() if k not in ("mode", "style", "prompt", "user")}
    return Wish(request["mode"], request["style"], str(request.get("prompt", "")), photo, values)


def backend_user(user_id: int) -> str:
    """Whose generations these are, in the backend's words."""
    return f"tg{user_id}"


def generation_id(bot_id: int, chat_id: int, origin: str) -> UUID:
    """The same message or press is the same generation, however often it is served."""
    return uuid5(_NAMESPACE, f"{bot_id}/{chat_id}/{origin}")


def sized(mode: ModeInfo, style: str, ratio: str | None) -> dict[str, int]:
    """Width and height of an aspect ratio in this style; empty where it has none such."""
    size = style_of(mode, style).sizes.get(ratio or "")
    return {"width": size[0], "height": size[1]} if size else {}


def again(generation: Generation, photo: str | None, **changes: Any) -> Wish:
    """The wish this generation came from, with another seed unless one is given."""
    kept = {k: v for k, v in generation.parameters.items() if k in _CARRIED and v is not None}
    kept |= changes
    words = str(kept.pop("prompt", "") or generation.prompt)
    return Wish(generation.mode, generation.style, words, photo, kept)


def variation(generation: Generation, mode: ModeInfo, photo: str) -> Wish:
    """The same words over the structure of the picture itself."""
    names = [style.name for style in mode.styles]
    style = generation.style if generation.style in names else mode.default_style
    prompt = schema_of(mode, "prompt") is not None
    return Wish(mode.name, style, generation.prompt if prompt else "", photo)
