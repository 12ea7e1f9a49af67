"""Node definitions as `GET /object_info` gives them, with the lists of model files filled in."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from gpu_server.sketch.folders import Folders

_MODELS_CONFIG = Path(__file__).parents[2] / "models_config" / "models.json"

# (class, input) → the model folder whose files it offers
_MODEL_INPUTS = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("VAELoader", "vae_name"): "vae",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("ControlNetLoader", "control_net_name"): "controlnet",
    ("ModelPatchLoader", "name"): "model_patches",
    ("LoadBackgroundRemovalModel", "bg_removal_name"): "background_removal",
}

LOADERS = frozenset(("LoadImage", "LoadImageMask"))
"""Classes whose input `image` names a file."""
Models = Mapping[str, Sequence[str]]


def configured_models() -> dict[str, list[str]]:
    """Read model file names by folder from `models.json`."""
    models: dict[str, list[str]] = {}
    for entry in json.loads(_MODELS_CONFIG.read_text("utf-8"))["files"]:
        folder, _, name = entry["dest"].partition("/")
        models.setdefault(folder, []).append(name)
    return models


@dataclass(frozen=True)
class InputSpec:
    """One input of a node class; `choices` lists the values it takes, if they are limited."""

    name: str
    type: str
    choices: list[str] | None
    options: Mapping[str, Any]
    required: bool

    @property
    def config(self) -> list[Any]:
        """The pair that ComfyUI's error bodies call `input_config`."""
        return [self.type if self.choices is None else self.choices, dict(self.options)]


@dataclass(frozen=True)
class NodeSpec:
    """What validation needs to know of a node class; `outputs` are the types of its slots."""

    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    is_output: bool


class Definitions:
    """All node classes of this engine."""

    def __init__(self, models: Models, folders: Folders) -> None:
        names = dict.fromkeys([*_MODEL_INPUTS.values(), *models])
        self.models = {folder: sorted(models.get(folder, ())) for folder in names}
        self._folders = folders
        text = resources.files(__package__).joinpath("definitions.json").read_text("utf-8")
        self._info: dict[str, dict[str, Any]] = json.loads(text)
        for (node, name), folder in _MODEL_INPUTS.items():
            self._info[node]["input"]["required"][name][0] = self.models[folder]
        self._specs = {name: _spec(info) for name, info in self._info.items()}

    def remove(self, class_type: str) -> None:
        """Leave out a class, like a ComfyUI where it is not installed."""
        del self._info[class_type], self._specs[class_type]

    def spec(self, class_type: object) -> NodeSpec | None:
        return self._specs.get(class_type) if isinstance(class_type, str) else None

    def object_info(self, class_type: str | None = None) -> dict[str, Any]:
        """Return the body of `GET /object_info` for all classes or one; `{}` for an unknown one."""
        names = self._info if class_type is None else {class_type} & self._info.keys()
        info = {name: self._info[name] for name in names}
        for name in LOADERS.intersection(info):
            info[name] = copy.deepcopy(info[name])
            info[name]["input"]["required"]["image"][0] = self._folders.input_files()
        return info


def _spec(info: Mapping[str, Any]) -> NodeSpec:
    inputs = tuple(
        InputSpec(
            name=name,
            type="COMBO" if isinstance(config[0], list) else config[0],
            choices=config[0] if isinstance(config[0], list) else None,
            options=config[1] if len(config) > 1 else {},
            required=group == "required",
        )
        for group in ("required", "optional")
        for name, config in info["input"].get(group, {}).items()
    )
    return NodeSpec(inputs, tuple(info["output"]), bool(info["output_node"]))
