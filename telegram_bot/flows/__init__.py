"""What people can do with the bot: one module per flow, imported by `app` and `profile`."""
