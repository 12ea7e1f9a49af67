"""The sketch engine, a program of its own: ComfyUI's protocol, drawn without an AI model.

It speaks the HTTP and WebSocket protocol of ComfyUI 0.3.64 and executes the same API-format graphs
node by node, so that everything can be tried in a minute without a GPU and tests run on the real
protocol. Ordinary drawing code makes the pictures; each says "sketch" in a corner. It imports
nothing from the GPU server, which reaches it over HTTP only.
"""

from gpu_server.sketch.app import create_app, create_server, running

__all__ = ["create_app", "create_server", "running"]
