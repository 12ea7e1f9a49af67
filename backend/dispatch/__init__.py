"""Accepted generations on their way through the pods. Routes reach it through the service."""
