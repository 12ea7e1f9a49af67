"""Accepted generations on their way to the pods. Routes reach it only through the service."""
