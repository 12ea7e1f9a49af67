"""ComfyUI's node definitions as recorded, with the model files of `models.json`."""

import json
from pathlib import Path
from typing import Any

import gpu_server
from gpu_server.comfy import object_info
from workflows.graph import Graph

CHECKPOINT = "my-model.safetensors"
CONTROLNET = "my-canny.safetensors"

MODEL_INPUTS = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "text_encoders": ("CLIPLoader", "clip_name"),
    "vae": ("VAELoader", "vae_name"),
    "controlnet": ("ControlNetLoader", "control_net_name"),
    "model_patches": ("ModelPatchLoader", "name"),
    "background_removal": ("LoadBackgroundRemovalModel", "bg_removal_name"),
}
"""Model folder → the input that chooses from it."""


def model_files() -> list[dict[str, Any]]:
    """Return the entries of `models.json`."""
    path = Path(gpu_server.__file__).parent / "models_config" / "models.json"
    files: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["files"]
    return files


def definitions() -> dict[str, Any]:
    """Return `/object_info` of a ComfyUI with every file of `models.json` and the owner's two."""
    info: dict[str, Any] = object_info.recorded()
    names: dict[str, list[str]] = {"checkpoints": [CHECKPOINT], "controlnet": [CONTROLNET]}
    for file in model_files():
        folder, _, name = file["dest"].partition("/")
        names.setdefault(folder, []).append(name)
    for folder, (node, entry) in MODEL_INPUTS.items():
        info[node]["input"]["required"][entry][0] = names[folder]
    return info


def models_in(graph: Graph) -> set[str]:
    """Return `folder/name` of every model file the graph loads."""
    return {
        f"{folder}/{node['inputs'][entry]}"
        for folder, (kind, entry) in MODEL_INPUTS.items()
        for node in graph.values()
        if node["class_type"] == kind
    }
