"""The bot's own SQLite file: updates, people and deliveries. Every part of the bot may use it."""
