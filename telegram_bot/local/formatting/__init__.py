"""Text with entities as Telegram stores it; pure, imported by every room of the local Telegram."""
