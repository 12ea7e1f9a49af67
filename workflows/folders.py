"""ComfyUI's folders for models."""

MODEL_FOLDERS = (
    *("checkpoints", "diffusion_models", "text_encoders", "vae", "loras", "controlnet"),
    *("model_patches", "upscale_models", "geometry_estimation"),
)
"""Where ComfyUI looks for models that Easel keeps."""
