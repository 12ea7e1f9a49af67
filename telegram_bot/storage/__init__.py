"""The bot's own SQLite file: updates, people and owed deliveries. Nothing else opens it."""
