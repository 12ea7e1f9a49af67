"""The front of the platform: keeps accepted generations safe, schedules them, speaks to all."""
