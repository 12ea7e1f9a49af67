"""One GPU's server: renders a request's graph, runs it through ComfyUI, gives back pictures."""
