"""Everything that knows hosts: the supervisor of the services, and the way to a pod."""
