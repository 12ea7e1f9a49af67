"""Several backends on one PostgreSQL: who leads, and how the others relay; included by `main`."""
