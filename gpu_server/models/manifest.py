"""Every model file with its source, size, hash and licence.

Ours are in `models_config/models.json`. A person's own are in a file of the same format, the one
EASEL_MODELS_FILE names, and take the place of ours with the same id.
"""

import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

MANIFEST = Path(__file__).parents[1] / "models_config" / "models.json"


class ManifestError(ValueError):
    """The manifest is invalid or has no such style, profile or file; the message says which."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelFile(_Record):
    """One file: `dest` is ComfyUI's folder and name, always safetensors, which run no code."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    dest: Annotated[str, Field(pattern=r"^[a-z][a-z_]*/[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors$")]
    url: Annotated[str, Field(pattern=r"^https?://")]
    size: Annotated[int, Field(gt=0)] = 0
    sha256: Annotated[str, StringConstraints(pattern=r"^([0-9a-fA-F]{64})?$", to_lower=True)] = ""
    licence: str = ""
    needed_by: tuple[str, ...] = ()
    """The styles that need it: `style` in every mode, or `style:mode`."""
    hash_source: str = ""

    @property
    def is_pinned(self) -> bool:
        """Whether its content is known; else that is taken from the first download."""
        return bool(self.size and self.sha256)


class Manifest(_Record):
    schema_version: Annotated[int, Field(alias="schema", ge=1, le=1)] = 1
    profiles: dict[str, tuple[str, ...]] = {}
    files: tuple[ModelFile, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [file.id for file in self.files]
        for values, what in ((ids, "id"), ([file.dest for file in self.files], "dest")):
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ValueError(f"{what} {', '.join(sorted(twice))} is listed twice")
        return self

    def over(self, other: "Manifest") -> "Manifest":
        """Return both, with the entries of this one in place of those with the same id."""
        files = {file.id: file for file in (*other.files, *self.files)}
        return Manifest.model_validate(
            {"profiles": other.profiles | self.profiles, "files": tuple(files.values())}
        )

    @property
    def styles(self) -> set[str]:
        """The styles that files are listed for."""
        return {name for file in self.files for name in _styles(file)}

    def select(
        self, style: str | None = None, profile: str | None = None, ids: Sequence[str] = ()
    ) -> list[ModelFile]:
        """Return the files that meet every condition. Raises ManifestError for an unknown one."""
        known_ids = [file.id for file in self.files]
        if unknown := [name for name in ids if name not in known_ids]:
            raise ManifestError(f"No file {', '.join(unknown)}; files: {', '.join(known_ids)}.")
        chosen = [file for file in self.files if not ids or file.id in ids]
        if style is not None:
            if style not in self.styles:
                styles = ", ".join(sorted(self.styles))
                raise ManifestError(f"No files for style {style!r}; styles: {styles}.")
            chosen = [file for file in chosen if style in _styles(file)]
        if profile is not None:
            if profile not in self.profiles:
                known = sorted(self.profiles)
                raise ManifestError(f"No profile {profile!r}; profiles: {', '.join(known)}.")
            chosen = [file for file in chosen if file.id in self.profiles[profile]]
        return chosen


def load_manifest(path: Path = MANIFEST, own: Path | None = None) -> Manifest:
    """Read and check the manifest, with the entries of `own` over it. Raises ManifestError."""
    manifest = read_manifest(path, path.name)
    if own is not None:
        try:
            manifest = read_own(own).over(manifest)
        except ValidationError as error:
            label = _own_label(own)
            text = f"{_reason(error.errors()[0])}, here and in Easel's own list"
            raise ManifestError(f"{label}: {text}; give it the id it has there.") from error
    ids = {file.id for file in manifest.files}
    for profile, members in manifest.profiles.items():
        if unknown := sorted(set(members) - ids):
            names = ", ".join(unknown)
            raise ManifestError(f"profile {profile} names {names}, which is not among the files.")
    return manifest


def read_own(path: Path) -> Manifest:
    """Read the entries of a person's own files. Raises ManifestError."""
    return read_manifest(path, _own_label(path))


def _own_label(path: Path) -> str:
    return f"{path.name} (EASEL_MODELS_FILE)"


def read_manifest(path: Path, label: str) -> Manifest:
    """Read one file, called `label` in errors. Raises ManifestError."""
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        return Manifest.model_validate_json(content)
    except OSError as error:
        raise ManifestError(f"{label} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = _place(first["loc"], content)
        raise ManifestError(": ".join([label, *where, f"{_reason(first)}."])) from error


def _reason(error: Any) -> str:
    return str(error["msg"]).removeprefix("Value error, ").rstrip(".")


def _place(loc: tuple[int | str, ...], content: bytes) -> list[str]:
    """Name the entry and the field of an error."""
    if loc[:1] != ("files",) or len(loc) < 2 or not isinstance(loc[1], int):
        return [".".join(map(str, loc))] if loc else []
    entry = json.loads(content)["files"][loc[1]]
    name = entry.get("id") if isinstance(entry, dict) else None
    named = f"entry {loc[1] + 1}{f' ({name})' if isinstance(name, str) else ''}"
    return [named, ".".join(map(str, loc[2:]))] if loc[2:] else [named]


def _styles(file: ModelFile) -> set[str]:
    return {need.partition(":")[0] for need in file.needed_by}
