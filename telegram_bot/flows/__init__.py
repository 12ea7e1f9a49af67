"""What people can do with the bot: one module per flow; only `app` and `profile` import them."""
