"""Easel's Telegram bot and, in `local`, a Telegram of its own to try it with; nobody imports it."""
