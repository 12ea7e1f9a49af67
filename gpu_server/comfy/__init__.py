"""The one way to ComfyUI: its client, its events and what its answers mean.

Only `gpu_server`'s service, jobs and wiring import it.
"""
