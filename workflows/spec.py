"""The content of a `mode.toml`, and the values its parameters take."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar = str | int | float
ParameterType = Literal["text", "integer", "number", "seed", "image"]
Size = tuple[Annotated[int, Field(ge=16, le=8192)], Annotated[int, Field(ge=16, le=8192)]]

SEED_MAX = 2**53 - 1
"""Largest seed: the largest whole number that every JSON reader keeps exact."""

OWN_TYPES: dict[str, ParameterType] = {
    "prompt": "text",
    "negative_prompt": "text",
    "seed": "seed",
    "image": "image",
    "width": "integer",
    "height": "integer",
    "count": "integer",
}
"""Parameters that rendering knows by name, and the type each must have."""


class CatalogError(ValueError):
    """A mode's folder has faults; each names the file, the key and what is wrong."""

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Text(Record):
    """A text for people, in each language of the bot; a plain string, or `en` alone, is all."""

    en: str
    ru: str = ""

    @model_validator(mode="before")
    @classmethod
    def _english_for_all(cls, data: Any) -> Any:
        data = {"en": data} if isinstance(data, str) else data
        return {"ru": data["en"], **data} if isinstance(data, dict) and "en" in data else data


class Parameter(Record):
    """One value a caller may set, with its range; also published as JSON Schema."""

    type: ParameterType
    title: Text
    description: Text | None = None
    required: bool = False
    default: Scalar | None = None
    minimum: float | None = None
    maximum: float | None = None
    multiple_of: int | None = Field(None, ge=1)
    max_length: int | None = Field(None, ge=1)
    unit: str | None = None

    @model_validator(mode="after")
    def _default_fits(self) -> Self:
        fault = None if self.default is None else self.fault_in(self.default)
        if fault is not None:
            raise ValueError(f"the default {fault}; it takes {self.allowed()}")
        return self

    def bounds(self) -> tuple[float | None, float | None]:
        if self.type == "seed":
            return 0, SEED_MAX
        return self.minimum, self.maximum

    def fault_in(self, value: Any) -> str | None:
        """Say what is wrong with `value`, or return None."""
        match self.type:
            case "image":
                return None
            case "text":
                return self._fault_in_text(value)
            case "number":
                if isinstance(value, bool) or not isinstance(value, int | float):
                    return "must be a number"
                if not _is_finite(value):
                    return "must be a finite number"
            case "integer" | "seed":
                if isinstance(value, bool) or not isinstance(value, int):
                    return "must be a whole number"
        low, high = self.bounds()
        if (low is not None and value < low) or (high is not None and value > high):
            return "is out of range"
        if self.multiple_of and value % self.multiple_of:
            return f"must be a multiple of {self.multiple_of}"
        return None

    def _fault_in_text(self, value: Any) -> str | None:
        if not isinstance(value, str):
            return "must be a text"
        if self.required and not value.strip():
            return "is empty"
        if self.max_length is not None and len(value) > self.max_length:
            return f"has {len(value)} characters"
        if any((ord(c) < 32 and c not in "\t\n\r") or 0xD800 <= ord(c) <= 0xDFFF for c in value):
            return "holds control characters"
        return None

    def allowed(self) -> str:
        """Say which values the parameter takes."""
        if self.type == "image":
            return "a PNG, JPEG or WebP image"
        if self.type == "text":
            least = "1" if self.required else "0"
            return f"{least} to {self.max_length} characters" if self.max_length else "a text"
        low, high = self.bounds()
        text = "a number" if self.type == "number" else "a whole number"
        if low is not None:
            text += f" from {_shown(low)}"
        if high is not None:
            text += f" to {_shown(high)}" if low is not None else f" up to {_shown(high)}"
        return text + (f", a multiple of {self.multiple_of}" if self.multiple_of else "")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _shown(bound: float) -> str:
    return str(int(bound)) if bound == int(bound) else f"{bound:g}"


class GraphSpec(Record):
    """A graph file, the model it loads and where each value goes in it."""

    file: str
    model: str
    """The model on the GPU: generations with the same name need no model change."""
    files: tuple[str, ...] = ()
    """Ids of the model files it needs, as in `gpu_server/models_config/models.json`."""
    sizes: dict[str, Size] = Field(min_length=1)
    """Aspect ratio → (width, height) in pixels, in the model's own resolutions; first = default."""
    multiple_of: int = Field(16, ge=1)
    bind: dict[str, str]
    """Value → `Node title.input`."""
    settings: dict[str, Scalar] = {}
    ignores: tuple[str, ...] = ()
    """Parameters that are accepted but have no effect with this model; shown to callers."""


class Style(Record):
    title: Text
    description: Text = Text(en="")
    graph: str
    prompt: str = "{prompt}"
    negative_prompt: str = "{negative_prompt}"
    settings: dict[str, Scalar] = {}
    ranges: dict[str, tuple[float, float]] = {}
    """A parameter from 0 to 1 → the values that its ends stand for in the graph."""
    timeout_s: float | None = Field(None, gt=0)
    """Timeout for drawing one image, in GPU seconds; overrides the platform's setting."""


class ModeSpec(Record):
    """The content of a `mode.toml`."""

    title: Text
    description: Text = Text(en="")
    order: int = 100
    default_style: str
    parameters: dict[str, Parameter]
    graphs: dict[str, GraphSpec]
    styles: dict[str, Style]


IMAGE, MASK = "image", "mask"
IMAGES = (IMAGE, "image_2", "image_3", "image_4")
