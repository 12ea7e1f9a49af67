"""What the local Telegram remembers: people, chats, messages, updates and files, all bounded."""
