"""`models_config/models.json`: every model file with its source, size, hash and licence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

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
    size: Annotated[int, Field(gt=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    licence: str
    needed_by: tuple[str, ...] = ()
    """The styles that need it: `style` in every mode, or `style:mode`."""
    hash_source: str = ""


class Manifest(_Record):
    schema_version: Annotated[int, Field(alias="schema", ge=1, le=1)]
    profiles: dict[str, tuple[str, ...]]
    files: tuple[ModelFile, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        ids = [file.id for file in self.files]
        for values, what in ((ids, "id"), ([file.dest for file in self.files], "dest")):
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ValueError(f"{what} {', '.join(sorted(twice))} is listed twice")
        for profile, members in self.profiles.items():
            if unknown := sorted(set(members) - set(ids)):
                raise ValueError(
                    f"profile {profile} names {', '.join(unknown)}, which is not among the files"
                )
        return self

    def select(
        self, style: str | None = None, profile: str | None = None, ids: Sequence[str] = ()
    ) -> list[ModelFile]:
        """Return the files that meet every condition. Raises ManifestError for an unknown one."""
        known_ids = [file.id for file in self.files]
        if unknown := [name for name in ids if name not in known_ids]:
            raise ManifestError(f"No file {', '.join(unknown)}; files: {', '.join(known_ids)}.")
        chosen = [file for file in self.files if not ids or file.id in ids]
        if style is not None:
            known = sorted({name for file in self.files for name in _styles(file)})
            if style not in known:
                raise ManifestError(f"No files for style {style!r}; styles: {', '.join(known)}.")
            chosen = [file for file in chosen if style in _styles(file)]
        if profile is not None:
            if profile not in self.profiles:
                known = sorted(self.profiles)
                raise ManifestError(f"No profile {profile!r}; profiles: {', '.join(known)}.")
            chosen = [file for file in chosen if file.id in self.profiles[profile]]
        return chosen


def load_manifest(path: Path = MANIFEST) -> Manifest:
    """Read and check the manifest. Raises ManifestError."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{path.name} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path.name}: {where}: {first['msg']}.") from error


def _styles(file: ModelFile) -> set[str]:
    return {need.partition(":")[0] for need in file.needed_by}
