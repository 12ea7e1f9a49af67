"""What can go wrong with this host, said so that the reader knows what to do next."""


class HostError(Exception):
    """Something on this host stops the command; the message says what, where and what to do."""


class ServiceFailed(HostError):
    """A service did not become ready; the message ends with the last lines of its log."""
