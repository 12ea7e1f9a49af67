"""Match the model files that a graph loads with the lists of models; propose entries for others."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from gpu_server.models.manifest import Manifest, ModelFile
from workflows.importing import Imported
from workflows.importing import ModelFile as Told


@dataclass(frozen=True)
class Needed:
    """A model file by its name in ComfyUI, and its entry in the lists of models."""

    name: str
    entry: ModelFile | None
    is_new: bool = False
    """Whether the entry is a proposal that no list has yet."""
    fault: str = ""
    """Why there is no entry."""

    def as_json(self) -> dict[str, object]:
        entry = self.entry
        return {
            "name": self.name,
            "id": entry.id if entry else None,
            "dest": entry.dest if entry else None,
            "url": entry.url if entry else None,
            "size": entry.size or None if entry else None,
            "licence": entry.licence or None if entry else None,
            "new": self.is_new,
            "reason": self.fault or None,
        }


def needed(names: Sequence[str], imported: Imported, manifest: Manifest) -> list[Needed]:
    """Return the entry of each file, from the lists or from what the workflow tells of it."""
    told = {_base(model.name): model for model in imported.models}
    taken = {file.id for file in manifest.files}
    return list(_needed(names, told, manifest, taken))


def _needed(
    names: Sequence[str], told: dict[str, Told], manifest: Manifest, taken: set[str]
) -> Iterator[Needed]:
    for name in names:
        listed = [file for file in manifest.files if file.dest.partition("/")[2] == name]
        model = told.get(_base(name))
        here = [file for file in listed if model and file.dest == f"{model.directory}/{name}"]
        if listed:
            yield Needed(name, (here or listed)[0])
        elif model is None or not model.url:
            yield Needed(name, None, fault="the workflow does not say where it can be fetched")
        else:
            yield _proposed(name, model, taken)


def _proposed(name: str, model: Told, taken: set[str]) -> Needed:
    id_ = _free(re.sub(r"[^a-z0-9.-]+", "-", name.rpartition(".")[0].lower()).strip("-."), taken)
    values = {
        "id": id_,
        "dest": f"{model.directory}/{name}",
        "url": model.url,
        "sha256": model.hash,
    }
    try:
        entry = ModelFile.model_validate(values)
    except ValidationError:
        fault = "Easel lists safetensors files only, without folders of their own; bring it by hand"
        return Needed(name, None, fault=fault)
    taken.add(id_)
    return Needed(name, entry, is_new=True)


def _base(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _free(id_: str, taken: set[str]) -> str:
    number, chosen = 1, id_
    while chosen in taken:
        number += 1
        chosen = f"{id_}-{number}"
    return chosen
