"""The content of a `mode.toml`, and the values its parameters take."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

Scalar = str | bool | int | float
ParameterType = Literal["text", "integer", "number", "seed", "choice", "boolean", "image", "mask"]
Size = tuple[Annotated[int, Field(ge=16, le=8192)], Annotated[int, Field(ge=16, le=8192)]]

COMFYUI_VERSION = re.compile(r"\d{1,9}(\.\d{1,9}){0,3}", re.ASCII)
SEED_MAX = 2**53 - 1
"""Largest seed: the largest whole number that every JSON reader keeps exact."""

IMAGE, MASK = "image", "mask"
IMAGES = (IMAGE, "image_2", "image_3", "image_4")
PHOTOS = (*IMAGES, MASK)
"""Every name that a parameter whose value is a photo can have."""
OWN_TYPES: dict[str, ParameterType] = {
    "prompt": "text",
    "negative_prompt": "text",
    "seed": "seed",
    **dict.fromkeys(IMAGES, "image"),
    MASK: "mask",
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


_LONGEST_NUMBER = 40
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")


class Text(Record):
    """A text for people, in as many languages as one likes; a plain string, or `en`, is enough."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str]

    en: str
    ru: str = ""

    @model_validator(mode="before")
    @classmethod
    def _english_for_all(cls, data: Any) -> Any:
        data = {"en": data} if isinstance(data, str) else data
        return {"ru": data["en"], **data} if isinstance(data, dict) and "en" in data else data

    @model_validator(mode="after")
    def _names_languages(self) -> Self:
        for name in self.__pydantic_extra__:
            if not _LANGUAGE.fullmatch(name):
                raise ValueError(f"'{name}' is not the code of a language, such as en or zh-TW")
        return self


class Choice(Record):
    """One value of a choice, and its name for people; a plain string is both."""

    value: str
    title: Text

    @model_validator(mode="before")
    @classmethod
    def _titled(cls, data: Any) -> Any:
        data = {"value": data} if isinstance(data, str) else data
        return (
            {"title": data["value"], **data} if isinstance(data, dict) and "value" in data else data
        )


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
    choices: tuple[Choice, ...] = ()
    unit: str | None = None

    @model_validator(mode="after")
    def _has_choices(self) -> Self:
        if (self.type == "choice") != bool(self.choices):
            raise ValueError("choices: a parameter of type 'choice', and no other, needs them")
        if len(set(self.values)) < len(self.values):
            raise ValueError("choices: a value is there twice")
        return self

    @property
    def values(self) -> list[str]:
        """The values of a choice."""
        return [choice.value for choice in self.choices]

    @property
    def is_photo(self) -> bool:
        """Whether its value is a photo, whose bytes travel beside the other values."""
        return self.type in ("image", "mask")

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
            case "image" | "mask":
                return None
            case "text":
                return self._fault_in_text(value)
            case "choice":
                return None if value in self.values else "is not one of the choices"
            case "boolean":
                return None if isinstance(value, bool) else "must be true or false"
            case _:
                return self._fault_in_number(value)

    def _fault_in_number(self, value: Any) -> str | None:
        kinds = (int, float) if self.type == "number" else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds):
            return "must be a number" if self.type == "number" else "must be a whole number"
        if not _is_finite(value):
            return "must be a finite number"
        low, high = self.bounds()
        if (low is not None and value < low) or (high is not None and value > high):
            return "is out of range"
        if self.multiple_of and value % self.multiple_of:
            return f"must be a multiple of {self.multiple_of}"
        return None

    def read(self, text: str) -> Scalar:
        """Read a text as the number or truth that is taken; what it is not, `fault_in` says."""
        if self.type == "boolean":
            return {"true": True, "false": False}.get(text.strip().lower(), text)
        convert = {"integer": int, "seed": int, "number": float}.get(self.type, str)
        try:
            return convert(text) if len(text) <= _LONGEST_NUMBER else text
        except ValueError:
            return text

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

    def allowed(self) -> str | list[str]:
        """Say which values the parameter takes."""
        match self.type:
            case "image":
                return "a PNG, JPEG or WebP image"
            case "mask":
                return "a PNG, JPEG or WebP image that is transparent, or white, where to draw"
            case "choice":
                return self.values
            case "boolean":
                return ["true", "false"]
            case "text":
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
    sizes: dict[str, Size] = {}
    """Aspect ratio → (width, height) in pixels, in the model's own resolutions; first = default.
    Without any the graph chooses the size itself, from its own nodes or from the photo."""
    multiple_of: int = Field(16, ge=1)
    photo_pixels: int = Field(4_194_304, ge=256)
    """Most pixels of a photo that is not fitted to one of the sizes; it is scaled down to them."""
    output: str | None = None
    """Title of the node whose `images` are the picture; needed if there are several SaveImage."""
    alpha: bool = False
    """Whether the picture has transparent parts."""
    bind: dict[str, str | tuple[str, ...]] = {}
    """Value → `Node title.input`, or several of them."""
    settings: dict[str, JsonValue] = {}
    ignores: tuple[str, ...] = ()
    """Parameters that are accepted but have no effect with this model; shown to callers."""

    def targets(self, value: str) -> tuple[str, ...]:
        """Return every `Node title.input` that takes a value."""
        bound = self.bind.get(value, ())
        return (bound,) if isinstance(bound, str) else bound


class Style(Record):
    title: Text
    description: Text = Text(en="")
    graph: str
    prompt: str = "{prompt}"
    negative_prompt: str = "{negative_prompt}"
    settings: dict[str, JsonValue] = {}
    ranges: dict[str, tuple[float, float]] = {}
    """A parameter from 0 to 1 → the values that its ends stand for in the graph."""
    timeout_s: float | None = Field(None, gt=0)
    """Timeout for drawing one image, in GPU seconds; overrides the platform's setting."""


class ModeSpec(Record):
    """The content of a `mode.toml`."""

    title: Text
    description: Text = Text(en="")
    order: int = 100
    least_comfyui: str = ""
    """The oldest ComfyUI that has every node of its graphs."""
    default_style: str
    parameters: dict[str, Parameter] = {}
    graphs: dict[str, GraphSpec]
    styles: dict[str, Style]

    @field_validator("least_comfyui")
    @classmethod
    def _is_version(cls, value: str) -> str:
        if value and not COMFYUI_VERSION.fullmatch(value):
            raise ValueError("must be a version of ComfyUI, such as '0.3.40'")
        return value
