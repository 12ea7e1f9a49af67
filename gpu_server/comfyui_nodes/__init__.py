"""Easel's nodes and routes for ComfyUI: raw output, identity, worker, removal of files.

Linked or copied to ComfyUI's `custom_nodes/easel_nodes`, this folder runs inside ComfyUI, so it
imports only itself and what ComfyUI has installed.
"""

import sys

if "folder_paths" in sys.modules:  # inside ComfyUI; elsewhere only ppm, jobs and worker work
    from server import PromptServer

    from .output import EaselOutput
    from .routes import add_routes

    NODE_CLASS_MAPPINGS = {"EaselOutput": EaselOutput}
    NODE_DISPLAY_NAME_MAPPINGS = {"EaselOutput": "Easel: raw output"}
    add_routes(PromptServer.instance.routes)
