"""Graphs before they run: node definitions, validation, order; imports `folders` only."""
