"""What people see: views, keyboards, and the editor that sends all messages; imports no flow."""
