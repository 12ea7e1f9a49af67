"""Easel's nodes and routes for ComfyUI: raw picture output, an identity, and removal of job files.

Linked or copied to ComfyUI's `custom_nodes/easel_nodes`, this folder runs inside ComfyUI and needs
nothing of Easel's and nothing that ComfyUI does not have.
"""

import sys

if "folder_paths" in sys.modules:  # ComfyUI is loading us; elsewhere only ppm and jobs can be used
    from server import PromptServer

    from .output import EaselOutput
    from .routes import add_routes

    NODE_CLASS_MAPPINGS = {"EaselOutput": EaselOutput}
    NODE_DISPLAY_NAME_MAPPINGS = {"EaselOutput": "Easel: raw output"}
    add_routes(PromptServer.instance.routes)
