"""The local Telegram: a strict Bot API server and a chat page; a program of its own.

It needs no token and no network, and serves to try Easel out and for tests. It enforces the rules
of Telegram that a bot meets, and proves nothing about the real service. Nothing imports it.
"""
