"""Easel for agents: the Model Context Protocol, at `/mcp` and by `python -m backend.mcp`.

The tools know a backend as a `Studio`: `here` is the one in this process, `there` one over HTTP.
Nothing imports the SDK before the first call: it takes 0.8 s and 19 MB.
"""
