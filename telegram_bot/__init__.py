"""Easel's Telegram side: the bot and, for trying it out, a Telegram that runs here."""
