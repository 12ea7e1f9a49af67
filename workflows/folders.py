"""ComfyUI's folders: for models, and those of node packs."""

import re

MODEL_FOLDERS = (
    *("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "controlnet"),
    *("model_patches", "upscale_models", "geometry_estimation"),
)
"""Where ComfyUI looks for models that Easel keeps."""

_PACK = re.compile(r"\w[\w.+-]{0,99}", re.ASCII)


def node_packs(text: str) -> tuple[str, ...]:
    """Return the names of folders in `custom_nodes`, from a list with commas.

    Raises ValueError for what cannot be the name of one, such as a path.
    """
    names = [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if not _PACK.fullmatch(name):
            raise ValueError(
                f"'{name[:60]}' is no name of a folder in ComfyUI's custom_nodes; "
                "give names such as ComfyUI-GGUF, no paths, separated by commas"
            )
    return tuple(dict.fromkeys(names))
