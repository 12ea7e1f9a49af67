"""Bytes and pixels of pictures: formats, uploads, encoding, provenance. Free of both services."""
