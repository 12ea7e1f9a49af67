"""Starts, watches and stops the services of this host; `startup.sh` hands over to it."""
