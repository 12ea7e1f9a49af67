"""What people can do with the bot: one module per flow, each with its `handlers()`."""
