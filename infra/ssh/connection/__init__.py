"""Connections to a host, and running scripts over them; for the modules of `infra.ssh` only."""
