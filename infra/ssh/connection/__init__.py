"""Connections to a host, direct or through a gateway, and programs running there."""
