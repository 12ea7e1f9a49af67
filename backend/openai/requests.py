"""The requests of OpenAI's Images API, in our terms. Pure.

What cannot be done is refused by name, in the route's own words; nothing is dropped silently.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from backend.openai.models import Models
from backend.openai.person import NamesPerson
from backend.schemas import GenerationRequest
from web.client import Photos
from web.errors import FieldError, InvalidRequest
from workflows import parameters
from workflows.catalog import Catalog, Mode
from workflows.parameters import InvalidValues
from workflows.spec import IMAGES, MASK, PHOTOS

MAX_PROMPT = 32_000
"""Characters of a prompt, as OpenAI takes them; what a mode cannot use of it is cut off."""
_Quality = Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"]
_OPENAI_STYLES = ("vivid", "natural")
_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})", re.ASCII)
_IMPOSSIBLE = {
    "frame_duration_ms": "pictures here do not move; leave it out",
    "svg": "drawings as SVG are not made here; leave it out",
    "markup": "no mode here takes a drawing over the photo; leave it out, or say it in the prompt",
}
_NAMES = {"count": "n", "width": "size", "height": "size"}
"""Easel's names of fields → those of this route."""


class ImageRequest(NamesPerson):
    """What to draw.

    Further fields are the values of the mode's parameters, such as `seed`, `negative_prompt` and
    `strength` (see `GET /modes`).
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    prompt: str = Field("", description=f"up to {MAX_PROMPT} characters")
    model: str | None = Field(None, examples=["easel", "easel:anime", "easel-free"])
    n: int | None = None
    size: str | None = Field(None, examples=["1024x1024", "auto"])
    response_format: Literal["url", "b64_json"] | None = Field(None, description="default: both")
    output_format: Literal["png", "jpeg", "jpg", "webp"] | None = None
    stream: bool | None = None
    partial_images: int | None = Field(None, ge=0, le=3)
    background: Literal["auto", "opaque", "transparent"] | None = None
    style: str | None = Field(None, description="a style of the mode; OpenAI's own have no effect")
    mask: Any = None
    markup: Any = None
    frame_count: int | None = None
    frame_duration_ms: Any = None
    svg: Any = None

    # Accepted without effect: the style decides how much work goes into a picture.
    quality: _Quality | None = None
    complexity: Literal["low", "medium", "high"] | None = None
    input_fidelity: Literal["low", "high"] | None = None
    moderation: Literal["low", "auto"] | None = None
    output_compression: int | None = Field(None, ge=0, le=100)

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, data: Any) -> Any:
        return {k: v for k, v in data.items() if v is not None} if isinstance(data, dict) else data


@dataclass(frozen=True)
class ImageCall:
    """The request in our terms, and the form of its answer."""

    request: GenerationRequest
    photos: Photos
    whole_prompt: str | None
    """The prompt as it came, if the request has only its beginning."""
    response_format: Literal["url", "b64_json"] | None
    stream: bool
    partial_images: int
    size: str

    @property
    def headers(self) -> dict[str, str]:
        """Say how much of a prompt is used, in characters, if not all of it."""
        if self.whole_prompt is None:
            return {}
        kept = len(str(self.request.values["prompt"]))
        return {"X-Easel-Prompt-Cut": f"kept={kept}, sent={len(self.whole_prompt)}"}


def translate(
    models: Models,
    body: ImageRequest,
    *,
    photos: Sequence[bytes] = (),
    mask: bytes | None = None,
    edits: bool = False,
) -> ImageCall:
    """Translate a request and what came with it. Raises ModelNotFound or InvalidRequest."""
    mode, style = models.choose(body.model, photo=edits)
    kept, cut_faults = _cut(mode, body.prompt)
    values = _values(mode, body, style) | ({"prompt": kept} if kept else {})
    named = dict(zip((name for name in IMAGES if name in mode.photos), photos, strict=False))
    if mask is not None and MASK in mode.photos:
        named[MASK] = mask
    if body.output_format == "jpg":
        body.output_format = "jpeg"
    faults = [
        *cut_faults,
        *_unknown(mode, body),
        *_impossible(mode, body, style, len(photos), edits=edits),
        *_value_faults(models.catalog, mode, body, values, named),
    ]
    if faults:
        raise InvalidRequest.of(faults)
    own = {"mode": mode.name, "format": body.output_format or "png", "user": body.person}
    return ImageCall(
        GenerationRequest.model_validate(values | own),
        photos=named,
        whole_prompt=body.prompt if kept != body.prompt else None,
        response_format=body.response_format,
        stream=bool(body.stream),
        partial_images=body.partial_images or 0,
        size=body.size or "auto",
    )


def _cut(mode: Mode, prompt: str) -> tuple[str, list[FieldError]]:
    """Return what the mode can use of a prompt, to the end of a word, and what is wrong with it."""
    parameter = mode.spec.parameters.get("prompt")
    if parameter is None and prompt:
        message = f"the mode '{mode.name}' takes no words; send an empty prompt"
        return "", [FieldError(field="prompt", message=message)]
    most = parameter.max_length if parameter else None
    if parameter is None or most is None or len(prompt) <= most:
        return prompt, []
    whole = parameter.model_copy(update={"max_length": MAX_PROMPT})
    fault = whole.fault_in(prompt)
    faults = [FieldError(field="prompt", message=fault, allowed=whole.allowed())] if fault else []
    kept = prompt[:most]
    if not prompt[most].isspace():
        head = re.match(r"(.*)\s", kept, re.DOTALL)
        # A text without spaces, or with one very long word, is cut inside a word.
        kept = head[1] if head and len(head[1]) > most // 2 else kept
    return kept.rstrip(), faults


def _values(mode: Mode, body: ImageRequest, style: str) -> dict[str, Any]:
    """Return the values of the mode's parameters, unchecked."""
    known = mode.spec.parameters
    extra = (body.model_extra or {}).items()
    values = {
        name: known[name].read(value) if isinstance(value, str) else value
        for name, value in extra
        if name in known and name not in PHOTOS
    }
    if style or body.style not in (None, *_OPENAI_STYLES):
        values["style"] = style or body.style
    if body.n is not None and ("count" in known or body.n != 1):
        values["count"] = body.n
    size = _SIZE.fullmatch(body.size or "")
    if size:
        values |= {"width": int(size[1]), "height": int(size[2])}
    return values


def _unknown(mode: Mode, body: ImageRequest) -> Iterator[FieldError]:
    """Name the fields that neither this route nor the mode has."""
    never = (*_IMPOSSIBLE, MASK, "frame_count")
    own = [name for name in ImageRequest.model_fields if name not in never]
    known = [name for name in mode.spec.parameters if name not in IMAGES[1:]]
    allowed = list(dict.fromkeys([*own, *(_NAMES.get(name, name) for name in known)]))
    unknown = (name for name in body.model_extra or {} if name not in known)
    for name in islice(unknown, parameters.MAX_UNKNOWN):
        near = difflib.get_close_matches(name[:60], allowed, n=1, cutoff=0.7)
        message = "is not a known field" + (f"; did you mean '{near[0]}'?" if near else "")
        yield FieldError(field=name[:60], message=message, allowed=allowed)


def _impossible(
    mode: Mode, body: ImageRequest, style: str, photos: int, *, edits: bool
) -> Iterator[FieldError]:
    """Name what the request wants and the mode cannot do."""
    images = [parameter for parameter in mode.photos.values() if parameter.type == "image"]
    takes, needs = len(images), sum(parameter.required for parameter in images)
    if edits and not photos:
        yield FieldError(field="image", message="is required", allowed="a PNG, JPEG or WebP image")
    elif photos < needs:
        message = f"the mode '{mode.name}' needs {needs} photos, and {photos} came"
        yield FieldError(field="image", message=message)
    elif photos > takes > 0:
        message = f"the mode '{mode.name}' takes at most {takes}, and {photos} came"
        yield FieldError(field="image", message=message)
    if style and body.style not in (None, style, *_OPENAI_STYLES):
        yield FieldError(field="style", message=f"the model's name says '{style}'", allowed=style)
    if body.mask is not None and not (edits and MASK in mode.photos):
        yield FieldError(field=MASK, message=f"the mode '{mode.name}' takes none; leave it out")
    yield from _unclear(mode, body, style or body.style or "")
    if body.frame_count not in (None, 1):
        yield FieldError(field="frame_count", message="pictures here do not move", allowed="1")
    for name, message in _IMPOSSIBLE.items():
        if getattr(body, name) is not None:
            yield FieldError(field=name, message=message)


def _unclear(mode: Mode, body: ImageRequest, style: str) -> Iterator[FieldError]:
    """Name what contradicts whether the picture has transparent parts."""
    style = style if style in mode.styles else mode.spec.default_style
    alpha = mode.graph_spec(style).alpha
    if body.background == ("opaque" if alpha else "transparent"):
        message = f"the mode '{mode.name}' draws {'' if alpha else 'no '}transparency"
        allowed = ["auto", "transparent" if alpha else "opaque"]
        yield FieldError(field="background", message=message, allowed=allowed)
    if alpha and body.output_format == "jpeg":
        message, allowed = parameters.NO_CLEAR_JPEG, parameters.CLEAR_FORMATS
        yield FieldError(field="output_format", message=message, allowed=allowed)


def _value_faults(
    catalog: Catalog,
    mode: Mode,
    body: ImageRequest,
    values: Mapping[str, Any],
    photos: Collection[str],
) -> list[FieldError]:
    """Return what is wrong with the values, under the names of this route."""
    faults: list[FieldError] = []
    try:
        parameters.check(catalog, mode.name, {**values, **dict.fromkeys(photos, True)})
    except InvalidValues as error:
        found = (FieldError(**vars(fault)) for fault in error.faults)
        faults = [fault for fault in found if fault.field not in IMAGES]
    if body.size in (None, "", "auto"):
        return [_renamed(fault) for fault in faults]
    others = [fault for fault in faults if fault.field not in ("width", "height")]
    is_wrong = not _SIZE.fullmatch(body.size) or any(f.field in ("width", "height") for f in faults)
    size = FieldError(
        field="size",
        message=f"'{body.size[:20]}' is not possible here",
        allowed=_sizes(mode, str(values.get("style", ""))),
    )
    return [*map(_renamed, others), *([size] if is_wrong else [])]


def _renamed(fault: FieldError) -> FieldError:
    """Speak of `n`, and of the longest prompt of this route."""
    allowed = f"1 to {MAX_PROMPT} characters" if fault.field == "prompt" else fault.allowed
    field = _NAMES.get(fault.field, fault.field)
    return FieldError(field=field, message=fault.message, allowed=allowed)


def _sizes(mode: Mode, style: str) -> str:
    """Say which sizes a style takes."""
    side = mode.spec.parameters.get("width")
    if side is None:
        return "auto"
    style = style if style in mode.styles else mode.spec.default_style
    suitable = list(mode.graph_spec(style).sizes.values())
    if not suitable:
        return "auto"
    example, most = suitable[0], 2 * max(width * height for width, height in suitable)
    return (
        f"auto, or sides that are each {side.allowed()}, with {most} pixels at most, "
        f"for example {example[0]}x{example[1]}"
    )
