"""Rows in the database, bytes in the object store. Only the backend's own packages import it."""
