"""Tell receivers that generations have ended, in signed requests; `main` runs it."""
