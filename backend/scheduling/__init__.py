"""Who draws next, and on which pod: pure decisions, used by `backend.dispatch` alone."""
