"""What people see: views, keyboards and the one writer of messages. No flow is imported."""
