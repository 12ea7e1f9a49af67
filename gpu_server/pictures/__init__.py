"""Bytes and pixels: formats, uploads, encoding, provenance and certificates.

It imports nothing else of `gpu_server`; both services may import it.
"""
