"""Jobs: their queue, the worker and what each node does; `engine` and `routes` import it."""
