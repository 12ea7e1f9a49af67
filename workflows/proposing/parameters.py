"""The tables that a proposed mode has for its parameters."""

import math
from typing import Any

_LONGEST_TEXT = 2000
_TITLES = {"prompt": "Description", "negative_prompt": "Leave out"}

SEED: dict[str, Any] = {
    "type": "seed",
    "title": "Seed",
    "description": "The same seed and words give the same picture. Random if left out.",
}
COUNT: dict[str, Any] = {
    "type": "integer",
    "minimum": 1,
    "maximum": 10,
    "default": 1,
    "title": "Pictures",
    "description": "Picture k, counted from 0, is drawn with seed + k.",
}


def text(name: str, default: str, *, is_required: bool) -> dict[str, Any]:
    """Return the table of a prompt; where it may be left out the workflow's own words stand."""
    plain = "".join(c for c in default if c in "\t\n\r" or c.isprintable())
    table: dict[str, Any] = {"type": "text", "title": _TITLES[name]}
    longest = max(_LONGEST_TEXT, math.ceil(len(plain) / 1000) * 1000)
    if is_required:
        return {**table, "required": True, "max_length": longest}
    return {**table, "max_length": longest, "default": plain}


def photo(name: str, *, is_required: bool) -> dict[str, Any]:
    number = name.partition("_")[2]
    return {
        "type": "image",
        "required": is_required,
        "title": f"Photo {number}".strip(),
        "description": "PNG, JPEG or WebP.",
    }


def mask(*, is_required: bool) -> dict[str, Any]:
    return {
        "type": "mask",
        "required": is_required,
        "title": "Mask",
        "description": "White, or transparent, is where the picture changes.",
    }


def side(name: str, pixels: int, step: int) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": min(256, pixels),
        "maximum": max(2048, pixels),
        "multiple_of": step,
        "unit": "px",
        "title": name.capitalize(),
    }


def change(value: float) -> dict[str, Any]:
    return {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": value,
        "title": "Change",
        "description": "How much of the photo is drawn anew, from 0 to 1.",
    }


def closeness(value: float) -> dict[str, Any]:
    return {
        "type": "number",
        "minimum": 0,
        "maximum": max(1, value),
        "default": value,
        "title": "Structure",
        "description": "How closely the photo's structure is kept; 0 is not at all.",
    }


def switch(title: str, *, is_on: bool) -> dict[str, Any]:
    return {"type": "boolean", "default": is_on, "title": title}
