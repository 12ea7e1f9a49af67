"""The output node. It runs in ComfyUI's only worker thread, whose time is the GPU's."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths

from .ppm import write_ppm

if TYPE_CHECKING:
    from torch import Tensor


class EaselOutput:
    """Saves pictures as SaveImage does, with its names and its pixels, but as raw PPM.

    Encoding a PNG would hold up the next job for hundreds of milliseconds; whoever fetches the
    picture encodes it.
    """

    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True
    CATEGORY = "image/easel"
    DESCRIPTION = "Saves the images to the output folder as raw PPM files, without encoding them."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802 - ComfyUI's name
        return {
            "required": {
                "images": ("IMAGE", {"tooltip": "The images to save."}),
                "filename_prefix": (
                    "STRING",
                    {"default": "easel/image", "tooltip": "Folder and start of the file names."},
                ),
            }
        }

    def save(self, images: "Tensor", filename_prefix: str) -> dict[str, Any]:
        """Write `images` (count x height x width x 3 or 4, 0 to 1; alpha is dropped)."""
        height, width = images.shape[1:3]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        saved = []
        for k, image in enumerate(images):
            filename = f"{name.replace('%batch_num%', str(k))}_{counter + k:05}_.ppm"
            # Converted where the picture is: a quarter of the bytes then leave the GPU.
            pixels = image[..., :3].mul(255).clamp_(0, 255).byte().cpu().numpy()
            write_ppm(Path(folder, filename), pixels)
            saved.append({"filename": filename, "subfolder": subfolder, "type": "output"})
        return {"ui": {"images": saved}}
