"""Which mode and style the name of a model stands for. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from backend.openai.answers import Model
from web import errors
from web.errors import FieldError
from workflows.catalog import Catalog, Mode

ANY = "easel"
"""The model that draws from words on one route and from a photo on the other."""
_OPENAI = {"dall-e-*": ANY, "gpt-image-*": ANY, "chatgpt-image-*": ANY}
"""Patterns, for OpenAI's names change every few months."""
_PREFERRED = {False: ("free",), True: ("edit", "restyle")}
"""What `easel` draws with, without and with a photo."""
_CREATED = 1767225600
"""When each model "was created": programs want a time, nobody reads it."""


class ModelNotFound(errors.NotFound, code="model_not_found", status=404):
    title = "There is no such model"


class UnknownAlias(ValueError):
    """A setting gives a name to a model that does not exist."""


@dataclass(frozen=True)
class Models:
    catalog: Catalog
    aliases: Mapping[str, str]
    """A name, or a pattern with `*` → the model it means."""
    can_draw: Callable[[str, str], bool] = lambda _mode, _style: True
    """Whether a pod can draw this mode and style now."""

    def check_aliases(self) -> None:
        """Raise UnknownAlias if one means no model; a mode out of service has its models."""
        for name, target in self.aliases.items():
            mode = target.partition(":")[0].removeprefix(f"{ANY}-")
            if target not in self._own() and mode not in self.catalog.broken:
                raise UnknownAlias(
                    f"BACKEND_MODEL_ALIASES: '{name}' means '{target}', which does not exist; "
                    f"use one of {', '.join(self._own())}"
                )

    def all(self) -> list[Model]:
        """List every model, then the aliases that are no patterns."""
        names = [*self._own(), *(name for name in self.aliases if "*" not in name)]
        return [_described(name) for name in dict.fromkeys(names)]

    def get(self, name: str) -> Model:
        """Describe one model, by any name that it has. Raises ModelNotFound."""
        self._meaning(name)
        return _described(name)

    def choose(self, name: str | None, *, photo: bool) -> tuple[Mode, str]:
        """Return the mode and style to draw with; an empty style is the mode's own.

        Raises ModelNotFound, or InvalidRequest if the model cannot draw from what there is.
        """
        target, _, style = self._meaning(name or ANY).partition(":")
        if target != ANY:
            mode = self.catalog.modes[target.removeprefix(f"{ANY}-")]
            self._require_suitable(mode, photo=photo)
            return mode, style
        modes = self._suitable(photo=photo)
        suitable = [mode for mode in modes if not style or style in mode.styles]
        if not suitable:
            what = "a photo" if photo else "words only"
            raise _wrong_model(f"no mode here draws from {what}{f' in {style}' if style else ''}")
        able = [m for m in suitable if self.can_draw(m.name, style or m.spec.default_style)]
        return (able or suitable)[0], style

    def _own(self) -> list[str]:
        styles = dict.fromkeys(style for mode in self.catalog for style in mode.styles)
        names = [ANY, *(f"{ANY}:{style}" for style in styles)]
        for mode in self.catalog:
            own = f"{ANY}-{mode.name}"
            names += [own, *(f"{own}:{style}" for style in mode.styles)]
        return names

    def _meaning(self, name: str) -> str:
        own = self._own()
        if name in own:
            return name
        for pattern, target in {**self.aliases, **_OPENAI}.items():
            if fnmatchcase(name, pattern) and target in own:
                return target
        raise ModelNotFound(
            f"model: '{name[:60]}' is not known (allowed: {', '.join(own)}; "
            f"{', '.join(_OPENAI)} mean {ANY})"
        )

    def _suitable(self, *, photo: bool) -> list[Mode]:
        """Return the modes that draw a prompt with or without a photo, the preferred first."""
        first = _PREFERRED[photo]
        modes = [mode for mode in self.catalog if "prompt" in mode.spec.parameters]
        modes = [mode for mode in modes if (mode.takes_image if photo else not _needs_image(mode))]
        return sorted(modes, key=lambda m: first.index(m.name) if m.name in first else len(first))

    def _require_suitable(self, mode: Mode, *, photo: bool) -> None:
        name = f"{ANY}-{mode.name}"
        other = next((f"{ANY}-{m.name}" for m in self._suitable(photo=photo)), ANY)
        if photo and not mode.takes_image:
            raise _wrong_model(f"{name} draws from words only; for a photo use {other}")
        if not photo and _needs_image(mode):
            raise _wrong_model(
                f"{name} needs a photo: send one to POST /v1/images/edits; "
                f"to draw from words only use {other}"
            )


def _needs_image(mode: Mode) -> bool:
    return any(p.type == "image" and p.required for p in mode.spec.parameters.values())


def _wrong_model(message: str) -> errors.InvalidRequest:
    return errors.InvalidRequest.of([FieldError(field="model", message=message)])


def _described(name: str) -> Model:
    return Model(id=name, created=_CREATED)
