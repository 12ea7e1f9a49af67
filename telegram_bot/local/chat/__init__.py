"""The chat page's JSON interface, open to scripts; only `app` imports it."""
