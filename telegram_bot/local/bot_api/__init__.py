"""The Bot API as a bot calls it: HTTP, parameters, one function per method; for `app` only."""
