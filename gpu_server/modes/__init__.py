"""Modes for people and programs: what each is, whether it is right, and how to get more of them."""
