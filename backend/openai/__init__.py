"""OpenAI's Images API on top of the generation service; included by `main`."""
