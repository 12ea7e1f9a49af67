"""One GPU's server: knows graphs and ComfyUI, not users."""
