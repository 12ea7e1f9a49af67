"""The local Telegram: a strict Bot API server and a chat page, with no token and no network.

It is for trying Easel out and for tests. It keeps the rules of Telegram that a bot meets, and
proves nothing about the real service.
"""
