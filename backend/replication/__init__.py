"""Several backend replicas on one PostgreSQL: which one leads, and how the others relay to it."""
