"""The output node. It runs in ComfyUI's only worker thread, so time spent here idles the GPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import folder_paths

from .ppm import write_ppm

if TYPE_CHECKING:
    from torch import Tensor


class EaselOutput:
    """Saves images under the same names and with the same pixels as SaveImage, but as raw PPM.

    Encoding a PNG would delay the next job by hundreds of milliseconds; the GPU server encodes the
    image after fetching it.
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
        """Write `images` (count x height x width x 3 or 4, 0 to 1)."""
        height, width = images.shape[1:3]
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), width, height
        )
        saved = []
        for k, image in enumerate(images):
            filename = f"{name.replace('%batch_num%', str(k))}_{counter + k:05}_.ppm"
            # Convert on the GPU, so that only a quarter of the bytes leave it.
            pixels = image[..., :4].mul(255).clamp_(0, 255).byte().cpu().numpy()
            write_ppm(Path(folder, filename), pixels)
            saved.append({"filename": filename, "subfolder": subfolder, "type": "output"})
        return {"ui": {"images": saved}}
