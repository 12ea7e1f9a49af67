"""Build the backend's requests: from a prompt, or from an earlier generation."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from backend.schemas import Generation, GenerationRequest, ModeInfo
from telegram_bot.catalogue import schema_of, style_of

_NAMESPACE = UUID("5e9b7c1e-8f0b-5d5a-9a1c-2f6d3b1c7a42")
_NOT_REPEATED = ("prompt", "seed", "style")


def draw_request(
    mode: str, style: str, prompt: str = "", values: Mapping[str, Any] | None = None
) -> GenerationRequest:
    """Make a request without its user; an empty prompt is left out, as a mode may take none."""
    own = {"mode": mode, "style": style} | ({"prompt": prompt} if prompt else {})
    return GenerationRequest.model_validate({**(values or {}), **own})


def again(generation: Generation, **changes: Any) -> GenerationRequest:
    """Repeat the request behind a generation, with another seed unless `changes` has one."""
    used = generation.parameters
    kept = {name: value for name, value in used.items() if name not in _NOT_REPEATED}
    values = {name: value for name, value in kept.items() if value is not None} | changes
    prompt = str(used.get("prompt") or generation.prompt)
    return draw_request(generation.mode, generation.style, prompt, values)


def variation(generation: Generation, mode: ModeInfo) -> GenerationRequest:
    """Make a request for the same prompt in `mode`, which takes the picture as its photo."""
    names = [style.name for style in mode.styles]
    style = generation.style if generation.style in names else mode.default_style
    takes_prompt = schema_of(mode, "prompt") is not None
    return draw_request(mode.name, style, generation.prompt if takes_prompt else "")


def backend_user(user_id: int) -> str:
    return f"tg{user_id}"


def generation_id(bot_id: int, chat_id: int, origin: str) -> UUID:
    """Derive the id from the message or button press, so that serving it twice changes nothing."""
    return uuid5(_NAMESPACE, f"{bot_id}/{chat_id}/{origin}")


def sized(mode: ModeInfo, style: str, ratio: str | None) -> dict[str, int]:
    """Return the width and height of an aspect ratio; empty if the style does not offer it."""
    size = style_of(mode, style).sizes.get(ratio or "")
    return {"width": size[0], "height": size[1]} if size else {}
