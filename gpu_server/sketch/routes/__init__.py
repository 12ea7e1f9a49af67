"""The HTTP side of ComfyUI's protocol, one module per group of routes; imported by `app` only."""
