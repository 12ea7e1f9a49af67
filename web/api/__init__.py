"""What a service tells of itself, its OpenAPI document and front page, and which pages may use it.

Every service may import it; it imports `web` and no service.
"""
