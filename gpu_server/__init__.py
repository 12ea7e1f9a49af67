"""One GPU's server: it runs requests through ComfyUI and hands back images.

The backend imports its client, schemas, bodies, modes and pictures; the bot its schemas.
"""
