"""The one way to ComfyUI: its client, its events, and what its answers mean."""
